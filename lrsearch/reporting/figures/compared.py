"""Families beside each other: what the best schedule of each came to."""

from __future__ import annotations

from plotly.graph_objects import Figure, Scatter

from lrsearch.evaluation import Confirmation, FamilyResult
from lrsearch.reporting.figures.style import LOOKS, empty, figure, note, plain

_TITLE = "Families compared"


def compared(confirmation: Confirmation, results: list[FamilyResult]) -> Figure:
    """Draw the mean of each family's best schedule with its 95 % interval, and every seed."""
    comparison, seeds = confirmation.comparison, len(confirmation.seeds)
    if comparison is None:
        return empty(_TITLE, "every schedule diverged on a seed")
    place = {entry.name: index for index, entry in enumerate(confirmation.compared)}
    shown = [result for result in results if result.family in place][::-1]
    drawn = figure(
        _TITLE,
        xaxis={"title": plain(confirmation.metric)},
        yaxis={"type": "category", "automargin": True},
        height=160 + 34 * len(shown),
        showlegend=False,
    )
    for result in shown:
        index, look = place[result.family], LOOKS[result.family]
        mean = float(comparison.mean[index])
        above = float(comparison.high[index]) - mean
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
                error_x={"type": "constant", "value": above},
                mode="markers",
                marker={"color": look.color, "symbol": look.symbol, "size": 11},
                hovertemplate=f"{result.family}, mean of {seeds} seeds: %{{x:.4f}}<extra></extra>",
            )
        )
    note(drawn, f"mean and 95 % interval over {seeds} seeds; small: each seed")
    return drawn
