"""`lrsearch trials`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened

if TYPE_CHECKING:
    from rich.table import Table


class TrialsFormat(StrEnum):
    """How trials are listed."""

    table = "table"
    csv = "csv"
    json = "json"


def trials(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    format: Annotated[
        TrialsFormat, typer.Option(help="For people, or with every column for programs.")
    ] = TrialsFormat.table,
) -> None:
    """List all trials: how each ended, its value and seeds, its schedule and parameters."""
    from lrsearch.study import trial_rows

    with opened(storage, study) as opened_study:
        rows = trial_rows(opened_study.records(epochs=True))
        metric = opened_study.spec.study.metric
    if format is TrialsFormat.json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif format is TrialsFormat.csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print(rows, metric)


def _print(rows: Sequence[dict[str, Any]], metric: str) -> None:
    from rich.console import Console

    Console(highlight=False).print(_table(rows, metric))


def _table(rows: Sequence[dict[str, Any]], metric: str) -> Table:
    """Return the columns that all trials share, and the rest of each in one."""
    from rich.table import Table

    from lrsearch.schedules import format_value

    shared = ("trial", "outcome", "value", "seeds", "epochs", "schedule", "base_lr")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in (*shared, "parameters"):
        left = name in ("outcome", "schedule", "parameters")
        table.add_column(
            metric if name == "value" else name,
            justify="left" if left else "right",
            no_wrap=name != "parameters",
        )
    for row in rows:
        family = f"{row['schedule']}."
        rest = ", ".join(
            f"{name.removeprefix(family)} {format_value(value)}"
            for name, value in list(row.items())[len(shared) + 2 :]
            if value is not None
        )
        cells = ("-" if row[name] is None else format_value(row[name]) for name in shared)
        table.add_row(*cells, rest)
    return table
