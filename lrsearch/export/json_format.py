"""JSON: read back by `load_schedule`."""

from __future__ import annotations

import json
from pathlib import Path

from lrsearch.errors import ScheduleError
from lrsearch.export.exported import Exported
from lrsearch.schedules import Schedule

FORMAT = 1


def to_json(best: Exported) -> str:
    """Return `{"format": 1, "schedule": {…}, "study", "trial", "value", "total_steps"}`.

    And "seeds", on how many it was trained in full, where that is not one; and "confirmed", what it
    came to on fresh seeds, where it was the best there.
    """
    data = {
        "format": FORMAT,
        "schedule": best.schedule.to_dict(),
        "study": best.study,
        "trial": best.trial,
        "value": best.value,
        "total_steps": best.total_steps,
    }
    if best.seeds != 1:
        data["seeds"] = best.seeds
    if best.confirmed:
        data["confirmed"] = best.confirmed
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def load_schedule(path: str | Path) -> Schedule:
    """Read the schedule in a file that `lrsearch export --format json` wrote.

    Raises:
        ScheduleError: if it cannot be read, is no such file, or holds an illegal value.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ScheduleError(f"cannot read the schedule {path}: {error.strerror}") from None
    except ValueError as error:
        raise ScheduleError(f"{path} is not valid JSON: {error}") from None
    except RecursionError:
        raise ScheduleError(f"{path} is nested too deeply for a schedule") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT or "schedule" not in data:
        raise ScheduleError(
            f'{path} is no exported schedule: it needs "format": {FORMAT} and "schedule"; '
            "write one with `lrsearch export`"
        )
    try:
        return Schedule.from_dict(data["schedule"])
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None
