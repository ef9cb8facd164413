"""Families beside each other: what the best schedule of each came to."""

from __future__ import annotations

from plotly.graph_objects import Figure, Scatter

from lrsearch.compare import FamilyResult
from lrsearch.confirm import Confirmation
from lrsearch.figures.style import LOOKS, empty, figure, note, plain

_TITLE = "Families compared"


def compared(found: Confirmation, results: list[FamilyResult]) -> Figure:
    """Draw the mean of each family's best schedule with its 95 % interval, and every seed."""
    if found.comparison is None:
        return empty(_TITLE, "every schedule diverged on a seed")
    place = {entry.name: index for index, entry in enumerate(found.compared)}
    shown = [result for result in results if result.family in place][::-1]
    drawn = figure(
        _TITLE,
        xaxis={"title": plain(found.metric)},
        yaxis={"type": "category", "automargin": True},
        height=160 + 34 * len(shown),
        showlegend=False,
    )
    for result in shown:
        index, look = place[result.family], LOOKS[result.family]
        mean = float(found.comparison.mean[index])
        drawn.add_trace(
            Scatter(
                x=list(result.entry.values.values()),
                y=[result.family] * len(result.entry.values),
                mode="markers",
                marker={"color": look.color, "size": 5, "opacity": 0.5},
                hovertemplate=f"{result.family}, one seed: %{{x:.4f}}<extra></extra>",
            )
        )
        drawn.add_trace(
            Scatter(
                x=[mean],
                y=[result.family],
                error_x={"type": "constant", "value": float(found.comparison.high[index]) - mean},
                mode="markers",
                marker={"color": look.color, "symbol": look.symbol, "size": 11},
                hovertemplate=f"{result.family}, mean of {len(found.seeds)} seeds: "
                "%{x:.4f}<extra></extra>",
            )
        )
    note(drawn, f"mean and 95 % interval over {len(found.seeds)} seeds; small: each seed")
    return drawn
