"""How many trials of a study train together on a device."""

from __future__ import annotations

import logging

from lrsearch.worker.leased import LeasedTrials

log = logging.getLogger(__name__)

LEARNING = 4
"""A search whose packs find their own size trains at least so many, one after the other.

What trains together is chosen without each other's results: where all trials were one pack,
searches found less; where a quarter were, as much as one at a time (tests/benchmarks/batches.py).
"""


def pack_size(trials: LeasedTrials, wanted: int | None) -> int:
    """Return how many trials of a study train together on its device; 0 if each trains alone.

    Args:
        trials: of the study, on the device.
        wanted: so many, if the task allows it; `None` for 1 on a CPU, where packs are slower, and
            on CUDA for what a short probe finds, but in a search at most a quarter of its trials.
            One trial is a pack of its own on CUDA, for the graph; on a CPU it trains alone.
    """
    objective = trials.objective
    if objective.device == "cpu" and wanted in (1, None):
        return 0
    from lrsearch.tasks.packable import why_not
    from lrsearch.tasks.probe import MOST, best_size
    from lrsearch.tasks.supervised import Supervised

    task = objective.task(objective.spec.task_options())
    if reason := why_not(task):
        log.info("every trial trains alone: %s", reason)
        return 0
    assert isinstance(task, Supervised)
    try:
        searches = objective.spec.confirm is None
        most = max(1, trials.study.target // LEARNING) if searches else MOST
        size = wanted or best_size(task, objective.device, most)
    except Exception as error:  # whatever a driver makes of it: trials can always train alone
        log.warning("every trial trains alone, since packs fail here: %s", error)
        return 0
    log.info("up to %d trials train together", size)
    return size
