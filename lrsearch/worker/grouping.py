"""How many trials of a study train together on a device."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lrsearch.tasks import devices_of
from lrsearch.worker.study_tasks import StudyTasks

log = logging.getLogger(__name__)

MIN_GROUPS = 4
"""A search whose packs find their own size trains in at least so many, one after the other.

What trains together is chosen without each other's results: where all trials were one pack,
searches found less; where a quarter were, as much as one at a time (tests/benchmarks/batches.py).
"""


@dataclass(frozen=True)
class Grouping:
    """How trials train: at most `size` together, as packs, or each by its task's own loop."""

    size: int = 1
    packs: bool = False


def choose_grouping(tasks: StudyTasks, target: int, device: str, wanted: int | None) -> Grouping:
    """Return how the trials of a study train on a device.

    Args:
        tasks: what they train.
        target: how many trials the study is to finish.
        device: a torch device; where it is several, every trial trains alone.
        wanted: so many together, if the task allows it; `None` for 1 on a CPU, where packs are
            slower, and on CUDA for what a short probe finds, but in a search at most a quarter of
            its trials. One trial is a pack of its own on CUDA, for the graph; on a CPU its task
            trains it.
    """
    if len(devices_of(device)) > 1 or (device == "cpu" and wanted in (1, None)):
        return Grouping()
    from lrsearch.tasks import Supervised
    from lrsearch.tasks.packs import MAX_PACK_SIZE, best_pack_size, packing_obstacle

    task = tasks.task(tasks.spec.task_options())
    if obstacle := packing_obstacle(task):
        log.info("every trial trains alone: %s", obstacle)
        return Grouping()
    assert isinstance(task, Supervised)
    try:
        at_most = max(1, target // MIN_GROUPS) if tasks.spec.confirm is None else MAX_PACK_SIZE
        size = wanted or best_pack_size(task, device, at_most)
    except Exception as error:  # whatever a driver makes of it: trials can always train alone
        log.warning("every trial trains alone, since packs fail here: %s", error)
        return Grouping()
    log.info("up to %d trials train together", size)
    return Grouping(size, packs=True)
