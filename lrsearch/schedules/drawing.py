"""Drawing schedules: their learning rates, and momenta, over each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Unit = Literal["updates", "epochs"]
_POINTS = 2000
"""Points of a line at most; of longer runs some updates are left out."""
_DASHES = ("solid", "dot", "dash")


class Line(NamedTuple):
    """What is drawn of a run, float64[T] each: where each update lies, its rate, its momentum.

    The momentum is NaN where the schedule leaves it alone.
    """

    x: NDArray[np.float64]
    rates: NDArray[np.float64]
    momenta: NDArray[np.float64]


def plot(lines: Mapping[str, Line], by: Unit = "updates") -> Figure:
    """Draw learning rates over each other, and below them momenta where schedules move them.

    Args:
        lines: by their names.
        by: what the horizontal axis counts.
    """
    from plotly.subplots import make_subplots

    rows = 2 if any(np.isfinite(line.momenta).all() for line in lines.values()) else 1
    drawn = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.06)
    colors = drawn.layout.template.layout.colorway or ["#0080c0"]
    for index, (name, line) in enumerate(lines.items()):
        count = len(line.x)
        shown = np.linspace(0, count - 1, min(_POINTS, count)).round().astype(np.int64)
        color = colors[index % len(colors)]
        dash = _DASHES[index // len(colors) % len(_DASHES)]
        look = {"x": line.x[shown], "name": name, "mode": "lines"}
        look["line"] = {"color": color, "dash": dash}
        drawn.add_scatter(**look, y=line.rates[shown], row=1, col=1)
        if np.isfinite(line.momenta).all():
            drawn.add_scatter(**look, y=line.momenta[shown], showlegend=False, row=2, col=1)
    drawn.update_yaxes(title_text="learning rate", rangemode="tozero", row=1, col=1)
    if rows == 2:
        drawn.update_yaxes(title_text="momentum", row=2, col=1)
    drawn.update_xaxes(title_text=by.removesuffix("s"), row=rows, col=1)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02}
    drawn.update_layout(template="plotly_white", showlegend=True, legend=legend)
    drawn.update_layout(height=260 + 180 * rows)
    return drawn
