"""The learning-rate finder's picture: loss over the logarithm of the rate, what the rules pick."""

from __future__ import annotations

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.diagnosis import Finding, RangeTest, smooth
from lrsearch.reporting.figures.style import FAINT, HUES, figure

_PICKS = {
    "steepest": (HUES[1], "circle"),
    "valley": (HUES[2], "square"),
    "minimum/10": (HUES[3], "diamond"),
    "slide": (HUES[5], "star"),
}
"""The colour and the symbol of what each rule picks."""


def range_tests(finding: Finding) -> Figure:
    """Draw every test's loss over its rate, smoothed, with the picks and the suggested domain."""
    low, high = finding.suggested
    drawn = figure(
        f"Learning-rate range test: search base_lr from {low:.2g} to {high:.2g} (shaded)",
        xaxis={"type": "log", "title": "learning rate", "exponentformat": "power"},
        yaxis={"title": "training loss"},
        legend={"orientation": "h", "y": -0.22},
    )
    first_losses = [
        _add_test(drawn, test, named=index == 0) for index, test in enumerate(finding.tests)
    ]
    _add_picks(drawn, finding)
    drawn.add_vrect(x0=low, x1=high, fillcolor=HUES[0], opacity=0.1, line_width=0, layer="below")
    drawn.update_yaxes(range=[0, 1.6 * max(first_losses)])
    return drawn


def _add_test(drawn: Figure, test: RangeTest, *, named: bool) -> float:
    """Draw one test, its loss raw and smoothed; return the first loss, smoothed."""
    curve = smooth(test.lrs, test.losses)
    drawn.add_trace(
        Scatter(
            x=test.lrs, y=test.losses, mode="markers", showlegend=named, hoverinfo="skip",
            marker={"color": FAINT, "size": 3}, name="loss of a batch",
        )
    )  # fmt: skip
    drawn.add_trace(
        Scatter(
            x=10**curve.log_lrs, y=curve.losses, mode="lines", showlegend=named,
            line={"color": HUES[0], "width": 2}, name="smoothed, one line a seed",
            hovertemplate="rate %{x:.3g}: loss %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
    return float(curve.losses[0])


def _add_picks(drawn: Figure, finding: Finding) -> None:
    """Draw what each rule picks, on the first test's curve: the median of the seeds, its range."""
    curve = smooth(finding.tests[0].lrs, finding.tests[0].losses)
    for name, pick in finding.picks.items():
        color, symbol = _PICKS[name]
        drawn.add_trace(
            Scatter(
                x=[pick.median],
                y=[float(np.interp(np.log10(pick.median), curve.log_lrs, curve.losses))],
                error_x={
                    "type": "data", "symmetric": False, "color": color,
                    "array": [pick.high - pick.median], "arrayminus": [pick.median - pick.low],
                },
                mode="markers", name=f"{name}: {pick.median:.2g}",
                marker={"color": color, "symbol": symbol, "size": 12,
                        "line": {"color": "white", "width": 1}},
                hovertemplate=f"{name}: %{{x:.3g}}<extra></extra>",
            )
        )  # fmt: skip
