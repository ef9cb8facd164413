"""JSON: read back by `load_schedule`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from lrsearch.errors import ScheduleError
from lrsearch.export.exported import Exported
from lrsearch.schedules import Schedule

FORMAT = 1


def to_json(best: Exported) -> str:
    """Return `{"format": 1, "schedule": {…}, …}` with the whole winner.

    Which trial of which study it is, by which "metric" it was found and its "value", on how many
    "seeds", what is "expected" on others (± "error"), and what was "confirmed" on fresh ones; for
    how many updates it is exported and was found ("total_steps", "found_with"), how many "epochs"
    those were; the task's "settings", the "data" (a checksum), the "versions" of packages.
    """
    data = {
        "format": FORMAT,
        "schedule": best.schedule.to_dict(),
        "study": best.study,
        "trial": best.trial,
        "metric": best.metric,
        "value": best.value,
        "seeds": best.seeds,
        "expected": best.expected,
        "error": best.error,
        "confirmed": asdict(best.confirmed) if best.confirmed else None,
        "total_steps": best.total_steps,
        "found_with": best.found_with or best.total_steps,
        "epochs": best.clock.parts,
        "lr_every": best.clock.lr_every,
        "settings": dict(best.settings),
        "data": best.data,
        "versions": dict(best.versions),
    }
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
