"""What every page is made of, in whatever format; nothing in it is escaped yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plotly.graph_objects import Figure

from lrsearch.reporting.text import Table


@dataclass(frozen=True)
class Section:
    """A part of a page: its lines, then its figures by name, its tables, its code.

    `captions` say by a figure's name what to see in it.
    """

    title: str
    lines: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    code: str = ""


@dataclass(frozen=True)
class Report:
    """A page: its title, what it says in a sentence or two, and its sections."""

    title: str
    lead: str
    sections: Sequence[Section]

    @property
    def figures(self) -> dict[str, Figure]:
        """All of its figures, by name."""
        return {name: drawn for each in self.sections for name, drawn in each.figures.items()}

    def section(self, title: str) -> Section:
        """Return the section of that title."""
        return next(each for each in self.sections if each.title == title)
