"""The learning-rate axis: what each `base_lr` led to, and whether the domain was wide enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import FloatDistribution
from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import (
    ALARM,
    CROSSES,
    FAINT,
    empty,
    figure,
    marker,
    note,
    plain,
)
from lrsearch.study import TrialRecord

_TITLE = "Learning-rate axis"
_LEGEND = "filled: complete · open: pruned · ×: diverged · +: failed to train"
_EDGE = 0.05
"""The part of the domain, on its log axis, that counts as its edge."""
_LINE = 0.05
"""Where the line of the infeasible trials lies, as a part of the figure's height."""


def base_lr(data: StudyData) -> Figure:
    """Draw value against `base_lr`, infeasible trials on a line of their own at the bottom.

    The tuning playbook calls this a hyperparameter axis plot: the best should lie inside the
    domain, with worse on both sides of it.
    """
    infeasible = {
        outcome: [trial for trial in data.trials if trial.outcome == outcome] for outcome in CROSSES
    }
    if not data.valued and not any(infeasible.values()):
        return empty(_TITLE, "no trial has finished yet")
    drawn = figure(
        _TITLE,
        xaxis={
            "title": "base_lr",
            "anchor": "y2",
            "type": "log",
            "dtick": 1,
            "exponentformat": "power",
        },
        yaxis={"title": plain(data.metric), "domain": [0.14, 1]},
        yaxis2={
            "domain": [0, 0.1],
            "range": [0, 1],
            "tickvals": [0.5],
            "ticktext": ["infeasible"],
            "tickfont": {"color": ALARM},
            "gridcolor": FAINT,
        },
    )
    shown = data.shown(data.valued)
    for family in data.families:
        of_family = [trial for trial in shown if trial.family == family]
        outcomes = sorted({trial.outcome for trial in of_family})
        for outcome in outcomes:
            trials = [trial for trial in of_family if trial.outcome == outcome]
            _add(drawn, trials, "y", named=outcome == outcomes[0])
    for trials in filter(None, infeasible.values()):
        _add(drawn, data.shown(trials), "y2", named=False)
    part = "" if len(shown) == len(data.valued) else f" · {len(shown)} of {len(data.valued)} trials"
    _mark_domain(drawn, data, part)
    if data.good:
        drawn.update_yaxes(range=data.good, selector={"side": None, "anchor": None})
    return drawn


def _add(drawn: Figure, trials: Sequence[TrialRecord], axis: str, *, named: bool) -> None:
    """Draw trials of one outcome, on `y` of one family, on `y2` of all."""
    outcome = trials[0].outcome
    family = "" if axis == "y2" else f"{trials[0].family}, "
    value = "" if axis == "y2" else "<br>%{y:.4g}"
    drawn.add_trace(
        Scatter(
            x=np.array([t.base_lr for t in trials], dtype=np.float32),
            y=np.array([0.5 if t.value is None else t.value for t in trials], dtype=np.float32),
            yaxis=axis,
            mode="markers",
            marker=marker(trials[0].family, outcome),
            name=trials[0].family,
            legendgroup=trials[0].family if family else outcome,
            showlegend=named,
            customdata=np.array([t.number for t in trials], dtype=np.int32),
            hovertemplate=f"trial %{{customdata}}, {family}{outcome}<br>base_lr %{{x:.4g}}{value}"
            "<extra></extra>",
        )
    )


def _mark_domain(drawn: Figure, data: StudyData, part: str) -> None:
    """Draw the edges of the domain searched, and say when the best lies at one."""
    searched = (t.distributions.get("base_lr") for t in data.trials)
    domains = [domain for domain in searched if isinstance(domain, FloatDistribution)]
    if not domains:
        note(drawn, _LEGEND + part)
        return
    low, high = domains[0].low, domains[0].high
    for edge in (low, high):
        drawn.add_vline(edge, line={"color": FAINT, "dash": "dash", "width": 2})
    text = f"{_LEGEND} · dashed: edges of the domain{part}"
    if data.ranked and low < high:
        place = math.log(data.ranked[0].base_lr / low) / math.log(high / low)
        if place < _EDGE or place > 1 - _EDGE:
            where, way = ("lower", "lower it") if place < _EDGE else ("upper", "raise it")
            text = f"<b>the best lies at the {where} edge of the domain: {way}</b>"
    note(drawn, text)
