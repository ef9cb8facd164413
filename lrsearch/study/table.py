"""All trials of a study as a table: for the terminal, CSV, JSON and pandas alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lrsearch.study.records import TrialRecord


def trial_rows(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """Return a row for each trial, all with the same columns.

    `value` is what trials are compared by (the mean of so many full runs, its `seeds`), `epochs`
    what it has trained in all, `seconds` from its beginning to its end; then every parameter by its
    name in the space. What a trial has not is `None`. The records are read with their epochs.
    """
    records = list(records)
    names = list(dict.fromkeys(name for record in records for name in record.params))
    own = sorted((name for name in names if "." in name), key=lambda name: name.split("."))
    shared = [name for name in names if "." not in name and name not in ("schedule", "base_lr")]
    return [
        {**_row(record), **{name: record.params.get(name) for name in (*shared, *own)}}
        for record in records
    ]


def _row(record: TrialRecord) -> dict[str, Any]:
    ended = record.began and record.ended
    return {
        "trial": record.number,
        "outcome": record.outcome,
        "value": record.value,
        "seeds": len(record.full_values),
        "epochs": len(record.epochs),
        "seconds": (record.ended - record.began).total_seconds() if ended else None,  # type: ignore[operator]
        "duplicate_of": record.duplicate_of,
        "schedule": record.family or None,
        "base_lr": record.schedule.base_lr if record.schedule else None,
    }
