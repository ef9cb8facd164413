"""Values and tables as text for people, and as Markdown that shows them as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from lrsearch.schedules import Schedule, format_value


class Table(NamedTuple):
    """A table for people; a long one is to be sorted and filtered where the format can do that."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    long: bool = False


def parameters(schedule: Schedule) -> str:
    """Return a schedule's warmup and parameters, all but its family and its base_lr.

    Example:
        >>> from lrsearch.schedules import Step
        >>> parameters(Schedule(Step(drop_factor=0.5, step_size=0.25), base_lr=0.1))
        'drop_factor 0.5, step_size 0.25'
    """
    shown = [f"{key} {format_value(value)}" for key, value in schedule.to_dict()["params"].items()]
    if warmup := schedule.warmup:
        start = f" from {warmup.start:.4g}" if warmup.start else ""
        before = ", laid before" if warmup.prepend else ""
        points = " and ".join(f"{point:.1%}" for point in warmup.doubled_at)
        doubled = f", doubled at {points}" if points else ", adjusted" if warmup.adjust else ""
        words = f"{warmup.shape} warmup{start} over {warmup.fraction:.1%}{before}{doubled}"
        shown = [words, *shown]
    return ", ".join(shown)


def markdown_text(text: str) -> str:
    """Return text for Markdown that stays what it is: neither tags nor marks take effect."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escape(" ".join(text.split())))


def markdown_code(text: str) -> str:
    """Return text as a block of code; indented, since no text can close that."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def markdown_table(table: Table) -> str:
    """Return a table in GitHub's Markdown.

    Example:
        >>> print(markdown_table(Table(["family", "trials"], [["cosine", "12"]])))
        | family | trials |
        | --- | --- |
        | cosine | 12 |
    """
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    cells = [[cell if cell == "---" else markdown_text(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
