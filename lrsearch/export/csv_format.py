"""CSV: the learning rate and the momentum of every update."""

from __future__ import annotations

import csv
import io

from lrsearch.errors import StudyError
from lrsearch.export.exported import Exported


def to_csv(best: Exported) -> str:
    """Return the columns step, lr, momentum (empty where the schedule leaves it alone).

    For `plateau` the learning rate is the one that was trained with.

    Raises:
        StudyError: for `plateau`, if its task gave no `val_loss`, or what it reads in its place.

    Example:
        >>> from lrsearch.schedules import Clock, Linear, Schedule
        >>> clock = Clock(total_steps=2, parts=1)
        >>> best = Exported(Schedule(Linear(), 1.0), "first", 3, 0.9, clock, losses=())
        >>> to_csv(best).splitlines()
        ['step,lr,momentum', '0,1.0,', '1,0.5,']
    """
    if best.schedule.family.reads_losses and not best.losses:
        family = best.schedule.family
        raise StudyError(
            f"trial {best.trial} has no {family.watches()}, which {family.name} needs for its "
            "curve; export it as json or python"
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("step", "lr", "momentum"))
    for step, lr in enumerate(best.clock.curve(best.schedule, best.losses).tolist()):
        momentum = best.clock.momentum(best.schedule, step)
        writer.writerow((step, lr, "" if momentum is None else momentum))
    return out.getvalue()
