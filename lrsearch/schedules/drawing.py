"""Drawing schedules: their learning rates, and momenta, over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lrsearch.schedules.clock import Clock
from lrsearch.schedules.schedule import Schedule

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_POINTS = 2000
"""Points of a line at most; of longer runs some updates are left out."""
_DASHES = ("solid", "dot", "dash")


def plot(
    schedules: Mapping[str, tuple[Schedule, Clock]],
    by: Literal["updates", "epochs"] = "updates",
    losses: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw learning rates over each other, and below them momenta where a schedule moves them.

    Args:
        schedules: by the names of the lines, each with the clock of its run.
        by: what the horizontal axis counts; epochs are the parts of a clock, and a prepended
            warmup lies before 0.
        losses: by name, what `plateau` has heard.

    Example:
        >>> from lrsearch.schedules import Cosine
        >>> drawn = plot({"cosine": (Schedule(Cosine(), 0.1), Clock(total_steps=100, parts=10))})
        >>> len(drawn.data), round(drawn.data[0].y[50], 3)
        (1, 0.05)
    """
    from plotly.subplots import make_subplots

    moved = {
        name: momenta
        for name, (schedule, clock) in schedules.items()
        if np.isfinite(momenta := _momenta(schedule, clock)).all()
    }
    rows = 2 if moved else 1
    drawn = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.06)
    colors = drawn.layout.template.layout.colorway or ["#0080c0"]
    for index, (name, (schedule, clock)) in enumerate(schedules.items()):
        rates = clock.curve(schedule, (losses or {}).get(name, ()))
        steps = _shown(clock)
        x = (
            steps
            if by == "updates"
            else (steps - clock.lead_steps) * clock.parts / clock.main_steps
        )
        look = {
            "x": x,
            "name": name,
            "mode": "lines",
            "line": {
                "color": colors[index % len(colors)],
                "dash": _DASHES[index // len(colors) % len(_DASHES)],
            },
        }
        drawn.add_scatter(**look, y=rates[steps], row=1, col=1)
        if name in moved:
            drawn.add_scatter(**look, y=moved[name][steps], showlegend=False, row=2, col=1)
    drawn.update_yaxes(title_text="learning rate", rangemode="tozero", row=1, col=1)
    if moved:
        drawn.update_yaxes(title_text="momentum", row=2, col=1)
    drawn.update_xaxes(title_text=by[:-1], row=rows, col=1)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02}
    drawn.update_layout(template="plotly_white", showlegend=True, legend=legend)
    drawn.update_layout(height=260 + 180 * rows)
    return drawn


def _shown(clock: Clock) -> NDArray[np.int64]:
    """Return the updates that are drawn, the first and the last among them."""
    count = min(_POINTS, clock.total_steps)
    return np.linspace(0, clock.total_steps - 1, count).round().astype(np.int64)


def _momenta(schedule: Schedule, clock: Clock) -> NDArray[np.float64]:
    """Return the momentum of every update; NaN where the schedule leaves it alone."""
    moved = [clock.momentum(schedule, step) for step in range(clock.total_steps)]
    return np.array(moved, dtype=np.float64)
