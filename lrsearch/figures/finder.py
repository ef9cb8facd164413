"""The learning-rate finder's picture: loss over the logarithm of the rate, what the rules pick."""

from __future__ import annotations

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.figures.style import FAINT, figure
from lrsearch.finder import Finding
from lrsearch.finder.rules import smooth

_BLUE = "#0080c0"
_PICKS = {"steepest": "#d55e00", "valley": "#009e73", "minimum/10": "#c060a0", "slide": "#7a70d8"}
_SYMBOLS = {"steepest": "circle", "valley": "square", "minimum/10": "diamond", "slide": "star"}


def range_tests(found: Finding) -> Figure:
    """Draw every test's loss over its rate, smoothed, with the picks and the suggested domain."""
    low, high = found.suggested
    drawn = figure(
        f"Learning-rate range test: search base_lr from {low:.2g} to {high:.2g} (shaded)",
        xaxis={"type": "log", "title": "learning rate", "exponentformat": "power"},
        yaxis={"title": "training loss"},
        legend={"orientation": "h", "y": -0.22},
    )
    highest = 0.0
    for index, test in enumerate(found.tests):
        curve = smooth(test.lrs, test.losses)
        highest = max(highest, 1.6 * float(curve.losses[0]))
        drawn.add_trace(
            Scatter(
                x=test.lrs, y=test.losses, mode="markers", showlegend=index == 0, hoverinfo="skip",
                marker={"color": FAINT, "size": 3}, name="loss of a batch",
            )
        )  # fmt: skip
        drawn.add_trace(
            Scatter(
                x=10**curve.log_lrs, y=curve.losses, mode="lines", showlegend=index == 0,
                line={"color": _BLUE, "width": 2}, name="smoothed, one line a seed",
                hovertemplate="rate %{x:.3g}: loss %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    first = smooth(found.tests[0].lrs, found.tests[0].losses)
    for name, pick in found.picks.items():
        drawn.add_trace(
            Scatter(
                x=[pick.median],
                y=[float(np.interp(np.log10(pick.median), first.log_lrs, first.losses))],
                error_x={
                    "type": "data", "symmetric": False, "color": _PICKS[name],
                    "array": [pick.high - pick.median], "arrayminus": [pick.median - pick.low],
                },
                mode="markers", name=f"{name}: {pick.median:.2g}",
                marker={"color": _PICKS[name], "symbol": _SYMBOLS[name], "size": 12,
                        "line": {"color": "white", "width": 1}},
                hovertemplate=f"{name}: %{{x:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    drawn.add_vrect(x0=low, x1=high, fillcolor=_BLUE, opacity=0.1, line_width=0, layer="below")
    drawn.update_yaxes(range=[0, highest])
    return drawn
