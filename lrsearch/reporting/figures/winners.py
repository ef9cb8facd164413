"""The learning-rate curves of the best trials."""

from __future__ import annotations

import math

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import (
    LOOKS,
    SYMBOLS,
    End,
    axis_type,
    empty,
    figure,
    label_ends,
    plain,
    rounded,
)
from lrsearch.schedules import format_value
from lrsearch.study import TrialRecord

_TITLE = "Schedules that won"
_BEST = 10
_MARKS = 7
"""Marks along a line that tell it from the others, where families are alike."""


def winners(data: StudyData) -> Figure:
    """Draw the schedules of the ten best complete trials, the best on top and the rest pale."""
    best = data.ranked[:_BEST]
    if not best:
        return empty(_TITLE, "no trial is complete yet")
    peaks = [trial.base_lr for trial in best]
    log = axis_type(peaks) == "log"
    low, high = (
        (math.log10(min(peaks)) - 1.5, math.log10(max(peaks)) + 0.1)
        if log
        else (0.0, 1.05 * max(peaks))
    )
    drawn = make_subplots(
        1, 1, figure=figure(
            _TITLE,
            xaxis={"title": "of the run", "tickformat": ".0%", "range": [0, 1]},
            yaxis={"title": "learning rate", "type": axis_type(peaks), "range": [low, high],
                   "dtick": 1 if log else None},
            showlegend=False,
        ),
    )  # fmt: skip
    ends = []
    for rank, trial in reversed(list(enumerate(best))):
        steps, rates = trial.curve()
        look = LOOKS[trial.family]
        drawn.add_trace(
            Scatter(
                x=[round(step / trial.run_clock.total_steps, 4) for step in steps],
                y=rounded(rates),
                mode="lines+markers",
                line={"color": look.color, "dash": look.dash, "width": 2 if rank else 4},
                marker={"symbol": SYMBOLS[rank], "size": 8, "maxdisplayed": _MARKS},
                opacity=0.7 if rank else 1.0,
                name=f"{rank + 1}. {trial.family} {trial.mean:.4g}",
                hovertemplate=f"{described(trial, data.metric)}<br>"
                "lr %{y:.4g} at %{x:.0%}<extra></extra>",
            )
        )
        last = math.log10(max(rates[-1], 10**low)) if log else rates[-1]
        ends.append(End(1.0, last, f"{rank + 1}. {trial.family} {trial.mean:.4g}", look.color))
    label_ends(drawn, ends, low, high)
    return drawn


def described(trial: TrialRecord, metric: str) -> str:
    """Return a trial's value, family and parameters for a hover."""
    lines = [f"<b>trial {trial.number}</b>: {trial.family}"]
    if trial.value is not None:
        lines.append(f"{plain(metric)} {trial.value:.4g}")
    for name, value in trial.params.items() or {"base_lr": trial.base_lr}.items():
        if name != "schedule":
            short = name.removeprefix(f"{trial.family}.")
            lines.append(plain(f"{short} {format_value(value)}"))
    return "<br>".join(lines)
