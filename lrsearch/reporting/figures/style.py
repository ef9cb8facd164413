"""How every figure looks: a colour, symbol and dash for each family; ink that any paper takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap
from typing import Any, NamedTuple

from plotly.graph_objects import Figure

from lrsearch.schedules import families

HUES = ("#0080c0", "#d55e00", "#009e73", "#c060a0", "#b8860b", "#7a70d8", "#20a0a8", "#c8505a")
"""Okabe and Ito's, brought to one lightness that white and black both take."""
DASHES = ("solid", "dot", "dash", "dashdot")
SYMBOLS = (
    *("circle", "square", "diamond", "triangle-up", "pentagon", "star", "hexagon", "octagon"),
    *("triangle-down", "bowtie", "hourglass", "star-square", "triangle-left", "star-diamond"),
    *("triangle-right", "hexagram"),
)
INK = "#7c7c7c"
"""Text that can be read on white and on black."""
FAINT = "rgba(128, 128, 128, 0.25)"
ALARM = "#d62728"
CROSSES = {"diverged": "x", "failed to train": "cross"}
"""The symbols of the outcomes that have no value."""
MIN_ROWS = 4
"""Rows that a figure has room for at least: a single bar is not to fill it."""
_LABEL_GAP = 0.05
"""How far apart labels at the ends of lines stand at least, as a share of the axis."""
_LINE = 58
"""Letters of a line that a screen 400 pixels wide has room for."""
FAR_APART = 30.0
"""Ratio of values from which an axis is logarithmic, or the smaller ones would lie on zero."""


class Look(NamedTuple):
    """What tells a family apart: its colour with its dash (lines) or pattern (bars); its symbol."""

    color: str
    symbol: str
    dash: str
    pattern: str


LOOKS = {
    name: Look(
        HUES[index % len(HUES)],
        SYMBOLS[index % len(SYMBOLS)],
        "solid" if index < len(HUES) else "dash",
        "" if index < len(HUES) else "/",
    )
    for index, name in enumerate(families)
}
"""By family; colour alone is never what tells two of them apart."""


def figure(title: str, **layout: Any) -> Figure:
    """Return an empty figure in the style of all; its paper is transparent."""
    axis = {"gridcolor": FAINT, "zeroline": False, "linecolor": FAINT, "automargin": True}
    return Figure(
        layout={
            "template": {
                "layout": {
                    "font": {"color": INK, "size": 12},
                    "paper_bgcolor": "rgba(0, 0, 0, 0)",
                    "plot_bgcolor": "rgba(0, 0, 0, 0)",
                    "xaxis": axis,
                    "yaxis": axis,
                    "hoverlabel": {"align": "left"},
                    "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": FAINT, "activecolor": INK},
                    "legend": {"font": {"size": 11}, "itemsizing": "constant", "tracegroupgap": 0},
                }
            },
            "title": {"text": title, "font": {"size": 15}, "x": 0.01, "xanchor": "left"},
            "margin": {"l": 10, "r": 15, "t": 55, "b": 10},
            "hovermode": "closest",
            **layout,
        }
    )


def empty(title: str, reason: str) -> Figure:
    """Return a figure that says why there is nothing to see."""
    drawn = figure(title, xaxis={"visible": False}, yaxis={"visible": False})
    drawn.add_annotation(
        text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 15}
    )
    return drawn


def note(drawn: Figure, text: str) -> None:
    """Write a line under the title, or as many as it takes on a phone."""
    lines = wrap(text, _LINE)
    drawn.update_layout(
        title_subtitle={"text": "<br>".join(lines), "font": {"size": 12, "color": INK}}
    )
    drawn.update_layout(margin_t=62 + 17 * len(lines))


class End(NamedTuple):
    """Where a line ends, what is to be written there, and its colour."""

    x: float
    y: float
    text: str
    color: str


def label_ends(drawn: Figure, ends: Sequence[End], low: float, high: float, row: int = 1) -> None:
    """Write a label at the end of each line, to the right of it, none over another.

    `low` and `high` are the ends of the vertical axis, in its own numbers: of a logarithmic one
    the exponents, and so is every `y`.
    """
    gap = _LABEL_GAP * (high - low)
    places: list[float] = []
    for end in sorted(ends, key=lambda end: end.y):
        at = max(end.y, low)
        places.append(max(at, places[-1] + gap) if places else at)
    over = max(0.0, places[-1] - high) if places else 0.0
    for end, at in zip(sorted(ends, key=lambda end: end.y), places, strict=True):
        drawn.add_annotation(
            x=end.x, y=at - over, text=end.text, font={"color": end.color, "size": 11},
            showarrow=False, xanchor="left", xshift=4, row=row, col=1,
        )  # fmt: skip
    longest = max((len(end.text) for end in ends), default=0)
    drawn.update_layout(margin_r=max(drawn.layout.margin.r, 12 + round(6.2 * longest)))


def axis_type(values: Iterable[float]) -> str:
    """Return "log" for positive values that lie far apart, else "linear"."""
    finite = [value for value in values if math.isfinite(value)]
    far = bool(finite) and min(finite) > 0 and max(finite) > FAR_APART * min(finite)
    return "log" if far else "linear"


def plain(text: object) -> str:
    """Return text for a figure: Plotly takes some of HTML's tags in texts for its own."""
    return escape(str(text))


def rounded(values: Iterable[float]) -> list[float]:
    """Return values with four digits, which is all that can be seen and keeps figures small."""
    return [float(f"{value:.4g}") for value in values]


def marker(family: str, outcome: str) -> dict[str, Any]:
    """Return the point of a trial: filled if complete, open if pruned, a cross if infeasible."""
    look = LOOKS[family]
    if outcome in CROSSES:
        return {"symbol": CROSSES[outcome], "color": ALARM, "size": 7, "opacity": 0.7}
    symbol = look.symbol if outcome == "complete" else f"{look.symbol}-open"
    return {"symbol": symbol, "color": look.color, "size": 7, "opacity": 0.85}
