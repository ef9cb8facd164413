"""The value of every trial after each epoch, and where trials were pruned or infeasible."""

from __future__ import annotations

from typing import Any

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.data import ZOOMED, StudyData, evenly
from lrsearch.reporting.figures.style import (
    ALARM,
    CROSSES,
    INK,
    LOOKS,
    empty,
    figure,
    note,
    plain,
    rounded,
)
from lrsearch.study import TrialRecord

_TITLE = "Intermediate values"
_CURVES = 300
"""Curves in a figure: more make it slow and no clearer."""
_ENDS: dict[str, dict[str, Any]] = {
    "pruned": {"symbol": "x-thin", "size": 6, "line": {"width": 1.5, "color": INK}},
    **{name: {"symbol": symbol, "size": 7, "color": ALARM} for name, symbol in CROSSES.items()},
}
"""How the end of a curve is marked, by its trial's outcome."""
_SIGNS = {"diverged": "×", "failed to train": "+"}


def epochs(data: StudyData) -> Figure:
    """Draw every trial's value per epoch, a cross where that ended badly, the best trial on top."""
    reported = [trial for trial in data.trials if trial.by_epochs]
    if not reported:
        return empty(_TITLE, "no trial has trained an epoch yet")
    shown = evenly(reported, _CURVES)
    drawn = figure(
        _TITLE,
        xaxis={
            "title": "epochs of the whole schedule" if len(data.rungs) > 1 else "epoch",
            "dtick": 1 if data.rungs[-1].epochs <= 20 else None,
        },
        yaxis={"title": plain(data.metric)},
    )
    for family in data.families:
        _add_curves(drawn, family, [trial for trial in shown if trial.family == family])
    for outcome in _ENDS:
        _add_ends(drawn, [trial for trial in shown if trial.outcome == outcome], outcome)
    if data.ranked:
        best = data.ranked[0]
        values = best.by_epochs
        drawn.add_trace(
            Scatter(
                x=list(values),
                y=rounded(values.values()),
                mode="lines+markers",
                line={"color": LOOKS[best.family].color, "width": 4},
                marker={"size": 9, "symbol": LOOKS[best.family].symbol},
                showlegend=False,
                hovertemplate=f"trial {best.number}, the best: %{{y:.4g}}<extra></extra>",
            )
        )
    part = f" · {len(shown)} of {len(reported)} trials" if len(shown) < len(reported) else ""
    if data.good:
        drawn.update_yaxes(range=data.good)
        part += f" · {ZOOMED}"
    there = {trial.outcome for trial in shown}
    red = (f"red {sign}: {name}" for name, sign in _SIGNS.items() if name in there)
    note(drawn, " · ".join(["×: pruned there", *red, "thick: the best"]) + part)
    return drawn


def _add_curves(drawn: Figure, family: str, trials: list[TrialRecord]) -> None:
    """Draw the curves of one family as one trace, with gaps between them."""
    if not trials:
        return
    x: list[float] = []
    y: list[float] = []
    numbers: list[int] = []
    for trial in trials:
        values = trial.by_epochs
        x += [*values, np.nan]
        y += [*values.values(), np.nan]
        numbers += [trial.number] * (len(values) + 1)
    drawn.add_trace(
        Scatter(
            x=np.array(x, dtype=np.float32),
            y=np.array(y, dtype=np.float32),
            mode="lines",
            line={"color": LOOKS[family].color, "dash": LOOKS[family].dash, "width": 1},
            opacity=0.6,
            name=family,
            customdata=np.array(numbers, dtype=np.int32),
            hovertemplate=f"trial %{{customdata}}: {family}<br>%{{y:.4g}} in epoch %{{x}}"
            "<extra></extra>",
        )
    )


def _add_ends(drawn: Figure, trials: list[TrialRecord], outcome: str) -> None:
    """Mark where trials of one outcome ended."""
    if trials:
        last = [max(trial.by_epochs) for trial in trials]
        values = [t.by_epochs[at] for t, at in zip(trials, last, strict=True)]
        drawn.add_trace(
            Scatter(
                x=np.array(last, dtype=np.int32),
                y=np.array(values, dtype=np.float32),
                mode="markers",
                marker=_ENDS[outcome],
                showlegend=False,
                customdata=np.array([t.number for t in trials], dtype=np.int32),
                hovertemplate=f"trial %{{customdata}}: {outcome}<extra></extra>",
            )
        )
