"""Every trial's value by family: best, median, spread, and what was pruned or diverged."""

from __future__ import annotations

import numpy as np
from plotly.graph_objects import Box, Figure, Scatter

from lrsearch.figures.data import StudyData, TrialData
from lrsearch.figures.style import FAINT, LOOKS, empty, figure, marker, note, plain

_TITLE = "By family"
_BOX = 3
"""Complete trials from which quartiles are drawn."""


def by_family(data: StudyData) -> Figure:
    """Draw a row for each family, the one with the best trial on top.

    Filled points are complete trials and make up the box (quartiles, median); open ones were pruned
    and stand at the last value they reported; crosses in the margin diverged.
    """
    ended = [t for t in data.trials if t.outcome in ("complete", "pruned", "diverged")]
    if not ended:
        return empty(_TITLE, "no trial has finished yet")
    values = [trial.value for trial in data.valued if trial.value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = (high - low) or abs(high) or 1.0
    margin = low - 0.1 * width if data.maximize else high + 0.1 * width
    edges = min(low, margin) - 0.05 * width, max(high, margin) + 0.05 * width
    rows = {name: len(data.families) - i for i, name in enumerate(data.families)}
    drawn = figure(
        _TITLE,
        xaxis={"title": plain(data.metric), "range": edges},
        yaxis={
            "tickvals": list(rows.values()),
            "ticktext": [f"{name} ({sum(t.family == name for t in ended)})" for name in rows],
            "range": [0.4, len(rows) + 0.6],
        },
        showlegend=False,
    )
    for name, row in rows.items():
        trials = [trial for trial in ended if trial.family == name]
        complete = [t for t in trials if t.outcome == "complete"]
        if len(complete) >= _BOX:
            drawn.add_trace(
                Box(
                    x=np.array([t.value for t in complete], dtype=np.float32),
                    y=np.full(len(complete), row, dtype=np.int16),
                    orientation="h",
                    boxpoints=False,
                    width=0.7,
                    line={"color": LOOKS[name].color, "width": 1},
                    fillcolor=FAINT,
                    hoverinfo="skip",
                )
            )
        for outcome in ("complete", "pruned", "diverged"):
            _add_points(drawn, [t for t in trials if t.outcome == outcome], row, margin)
    count = {o: sum(t.outcome == o for t in ended) for o in ("complete", "pruned", "diverged")}
    note(
        drawn,
        f"filled: {count['complete']} complete, with quartiles · open: {count['pruned']} pruned · "
        f"× in the margin: {count['diverged']} diverged",
    )
    return drawn


def _add_points(drawn: Figure, trials: list[TrialData], row: int, margin: float) -> None:
    """Draw trials of one family and outcome, spread a little across their row."""
    if not trials:
        return
    outcome = trials[0].outcome
    place = [margin if t.value is None else t.value for t in trials]
    spread = np.array([t.number * 0.618034 % 1 for t in trials])
    drawn.add_trace(
        Scatter(
            x=np.array(place, dtype=np.float32),
            y=(row + 0.5 * (spread - 0.5)).astype(np.float32),
            mode="markers",
            marker=marker(trials[0].family, outcome),
            customdata=np.array([t.number for t in trials], dtype=np.int32),
            hovertemplate=f"trial %{{customdata}}, {outcome}"
            + ("" if outcome == "diverged" else "<br>%{x:.4g}")
            + "<extra></extra>",
        )
    )
