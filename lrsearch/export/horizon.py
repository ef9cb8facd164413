"""Another horizon: what a schedule keeps when the run gets longer or shorter, and what not."""

from __future__ import annotations

from dataclasses import replace

from lrsearch.export.exported import Exported
from lrsearch.schedules import Plateau


def rescaled(best: Exported, total_steps: int) -> Exported:
    """Return the export for a run of `total_steps` updates; durations keep their share.

    Raises:
        ScheduleError: if `total_steps` is below 1.

    Example:
        >>> from lrsearch.schedules import Clock, Linear, Schedule
        >>> clock = Clock(total_steps=100, parts=10)
        >>> best = Exported(Schedule(Linear(), 1.0), "first", 3, 0.9, clock, losses=())
        >>> rescaled(best, 2000).total_steps
        2000
    """
    found_with = best.found_with or best.total_steps
    return replace(best, clock=best.clock.scaled(total_steps), found_with=found_with)


def lost(best: Exported, total_steps: int) -> list[str]:
    """Return, one sentence each, what of `best` does not transfer to `total_steps` updates."""
    if total_steps == best.total_steps:
        return []
    schedule = best.schedule
    notes = [
        f"base_lr {schedule.base_lr:g} was found with {best.total_steps} updates and is not "
        f"rescaled; another may be better with {total_steps}"
    ]
    if isinstance(schedule.family, Plateau):
        notes.append(
            "patience and cooldown count evaluations, so their share of the run changes unless "
            "there are as many evaluations as before"
        )
    if schedule.warmup and schedule.warmup.length(best.clock.scaled(total_steps).length) < 1:
        notes.append(f"the warmup is shorter than one of {total_steps} updates, so there is none")
    return notes
