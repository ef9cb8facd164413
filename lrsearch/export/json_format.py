"""JSON: read back by `load_schedule`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from lrsearch.errors import ScheduleError
from lrsearch.export.exported import Exported
from lrsearch.schedules import Clock, LrEvery, Schedule

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
    return load_run(path)[0]


def load_run(path: str | Path) -> tuple[Schedule, Clock | None]:
    """Read the schedule in such a file, and the clock of the run that it was exported for.

    There is none in a file that holds no more than a schedule.

    Raises:
        ScheduleError: as `load_schedule`.
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
        schedule = Schedule.from_dict(data["schedule"])
        return schedule, _clock(data, schedule)
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None


def _clock(data: dict[str, Any], schedule: Schedule) -> Clock | None:
    """Return the clock of a run that is stored with what is prepended to it."""
    keys = ("total_steps", "epochs", "lr_every")
    if not all(key in data for key in keys):
        return None
    total_steps, parts, every = (data[key] for key in keys)
    whole = type(total_steps) is int and type(parts) is int
    if not whole or every not in get_args(LrEvery):
        raise ScheduleError(
            f"total_steps and epochs must be whole numbers and lr_every one of "
            f"{', '.join(get_args(LrEvery))}, but got {total_steps!r}, {parts!r}, {every!r}"
        )
    clock = Clock(total_steps, parts, every)
    if schedule.warmup is None or not schedule.warmup.prepend:
        return clock
    if every == "epoch":
        return replace(clock, lead=schedule.run_length(parts) - parts)
    return replace(clock, lead=math.ceil(schedule.warmup.length(total_steps) - 1e-9))
