"""Schedules on the same fresh seeds: what each came to, and how far behind the best it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch.evaluation import Confirmation, Entry
from lrsearch.reporting.figures.style import INK, LOOKS, Look, empty, figure, note, plain

_TITLE = "Confirmed on fresh seeds"


def confirmed(confirmation: Confirmation) -> Figure:
    """Draw each schedule's mean with its 95 % interval and every seed, and below what is paired.

    The lower panel has the differences from the best on the same seeds, with intervals that hold
    for all of them at once: who reaches 0 cannot be told apart from the best.
    """
    comparison, best = confirmation.comparison, confirmation.winner
    if comparison is None or best is None:
        return empty(_TITLE, "no schedule trained on every seed")
    order = comparison.difference.argsort()[::-1]
    entries = [confirmation.compared[index] for index in order]
    drawn = make_subplots(
        2, 1, vertical_spacing=0.32, row_heights=[len(entries), max(1, len(entries) - 1)],
        figure=figure(_TITLE, height=260 + 44 * len(entries), showlegend=False),
    )  # fmt: skip
    sign = 1 if confirmation.maximize else -1
    for index, entry in zip(order, entries, strict=True):
        above = float(comparison.high[index] - comparison.mean[index])
        _add(drawn, 1, entry, entry.values, float(comparison.mean[index]), above)
        if entry is not best:
            behind = {s: sign * (best.values[s] - value) for s, value in entry.values.items()}
            half = float(comparison.difference_high[index] - comparison.difference[index])
            _add(drawn, 2, entry, behind, float(comparison.difference[index]), half)
    _zoom(drawn)
    drawn.update_yaxes(type="category")
    drawn.update_xaxes(title_text=plain(confirmation.metric), row=1)
    drawn.update_xaxes(title_text=f"behind {plain(best.name)} on the same seeds", row=2)
    drawn.add_vline(0, line={"color": INK, "dash": "dash", "width": 1}, row=2)
    bounded = math.isfinite(comparison.high[comparison.best])
    seeds = len(confirmation.seeds)
    note(
        drawn,
        (f"large: mean and 95 % interval over {seeds} seeds" if bounded else
         f"large: mean over {seeds} seeds, too few for an interval")
        + " · small: each seed · below: who reaches 0 cannot be told apart from the best",
    )  # fmt: skip
    return drawn


def _add(
    drawn: Figure, row: int, entry: Entry, seeds: Mapping[int, float], mean: float, half: float
) -> None:
    """Draw a schedule in one panel: its seeds, and its mean with half its interval, if any."""
    look: Look = LOOKS[entry.schedule.family.name]
    name = plain(entry.name)
    drawn.add_trace(
        Scatter(
            x=list(seeds.values()),
            y=[name] * len(seeds),
            mode="markers",
            marker={"color": look.color, "size": 6, "opacity": 0.5},
            customdata=list(seeds),
            hovertemplate=f"{name}, seed %{{customdata}}: %{{x:.4f}}<extra></extra>",
        ),
        row=row,
        col=1,
    )
    drawn.add_trace(
        Scatter(
            x=[mean],
            y=[name],
            error_x={"type": "constant", "value": half} if math.isfinite(half) else None,
            mode="markers",
            marker={"color": look.color, "symbol": look.symbol, "size": 12},
            hovertemplate=f"{name}, mean of {len(seeds)} seeds: %{{x:.4f}}<extra></extra>",
        ),
        row=row,
        col=1,
    )


def _zoom(drawn: Figure) -> None:
    """Show whole those near the best; one that collapsed on a seed is reached by zooming out."""
    for row in (1, 2):
        traces = [trace for trace in drawn.data if trace.yaxis == ("y" if row == 1 else "y2")]
        means = {trace.y[0]: trace.x[0] for trace in traces if len(trace.x) == 1}
        if len(means) < 2:
            continue
        middle = sorted(means.values())[len(means) // 2]
        spread = 6 * sorted(abs(mean - middle) for mean in means.values())[len(means) // 2]
        near = {name for name, mean in means.items() if abs(mean - middle) <= max(spread, 1e-12)}
        if len(near) < len(means):
            ends = [
                end
                for trace in traces
                if trace.y[0] in near
                for x in trace.x
                for end in (x - (trace.error_x.value or 0), x + (trace.error_x.value or 0))
            ]
            low, high = min(ends), max(ends)
            low, high = (min(low, 0.0), max(high, 0.0)) if row == 2 else (low, high)
            pad = 0.06 * (high - low)
            drawn.update_xaxes(range=[low - pad, high + pad], row=row)
