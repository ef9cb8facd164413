"""Python: a file that needs only torch."""

from __future__ import annotations

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_torch
from lrsearch.export.source import TORCH, formula, head, joined, torch_scheduler

_USAGE = """
Needs torch and nothing else. In your training:

    optimizer = {optimizer}
    scheduler = ScheduleLR(optimizer, Schedule(), TOTAL_STEPS)
    for batch in batches:
        ...
        optimizer.step()
        scheduler.step({argument})

`Schedule().lr(step, total_steps)` is the rate of one update; all durations are fractions of the
run, so any number of updates does.
"""


def to_python(best: Exported) -> str:
    """Return a module with the schedule as `Schedule` and torch's scheduler as `ScheduleLR`."""
    argument = "loss  # after an update that was followed by an evaluation"
    reads = best.schedule.family.reads_losses
    usage = _USAGE.format(optimizer=for_torch(best), argument=argument if reads else "")
    first = caution(best)
    return joined(
        head(best, usage, TORCH, first), formula(best.schedule, best.clock), torch_scheduler()
    )
