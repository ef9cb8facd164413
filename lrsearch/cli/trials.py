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


SHARED = ("trial", "outcome", "value", "seeds", "epochs", "schedule", "base_lr")
"""The columns that all trials share."""
MIN_WIDTH = 100
"""Columns of a terminal that has room for each trial's own parameters too."""


def _print(rows: Sequence[dict[str, Any]], metric: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    wide = console.width >= MIN_WIDTH
    console.print(_table(rows, metric, parameters=wide))
    if rows and not wide:
        console.print(
            f"Their other parameters are listed from {MIN_WIDTH} columns on, and by --format csv.",
            style="dim",
        )


def _table(rows: Sequence[dict[str, Any]], metric: str, *, parameters: bool) -> Table:
    """Return the columns that all trials share, and if asked the rest of each in one."""
    from rich.table import Table

    from lrsearch.schedules import format_value

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in SHARED:
        left = name in ("outcome", "schedule")
        heading = metric if name == "value" else name
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    if parameters:
        table.add_column("parameters")
    for row in rows:
        cells = ["-" if row[name] is None else format_value(row[name]) for name in SHARED]
        if parameters:
            family = f"{row['schedule']}."
            own = ", ".join(
                f"{name.removeprefix(family)} {format_value(value)}"
                for name, value in list(row.items())[len(SHARED) + 2 :]
                if value is not None
            )
            cells.append(own)
        table.add_row(*cells)
    return table
