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
        StudyError: for `plateau`, if its task gave no `val_loss`.
    """
    if best.schedule.shape.reads_losses and not best.losses:
        raise StudyError(
            f"trial {best.trial} has no val_loss, which {best.schedule.shape.name} needs for its "
            "curve; export it as json or python"
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("step", "lr", "momentum"))
    for step, lr in enumerate(best.schedule.curve(best.total_steps, best.losses).tolist()):
        momentum = best.schedule.momentum(step, best.total_steps)
        writer.writerow((step, lr, "" if momentum is None else momentum))
    return out.getvalue()
