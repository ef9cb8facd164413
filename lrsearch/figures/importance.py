"""What matters: how much each parameter decides about reaching a good value."""

from __future__ import annotations

from typing import Literal

import optuna
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial
from plotly.graph_objects import Bar, Figure

from lrsearch.figures.data import StudyData
from lrsearch.figures.style import empty, figure, note, plain

Direction = Literal["minimize", "maximize"]
_TITLE = "What matters"
_ENOUGH = 10
"""Complete trials from which an importance says something."""
_TOLD = 0.12
"""The share from which there is room for a parameter's name."""
_ROWS = 4
"""Rows that there is room for at least: a single bar is not to fill the figure."""
_SHARED = {
    "schedule": "#7c7c7c",
    "base_lr": "#0080c0",
    "warmup": "#d55e00",
    "warmup_steps": "#b8860b",
}
_OWN = ("#009e73", "#c060a0", "#7a70d8", "#20a0a8")


def importance(data: StudyData) -> Figure:
    """Draw the importances of parameters over all families and within each, by Optuna's PED-ANOVA.

    Over all families only what every trial has can be weighed; within a family all its own.
    """
    groups = {"all families": data.ranked}
    groups |= {f: [t for t in data.ranked if t.family == f] for f in data.families}
    if len(data.families) == 1:
        del groups["all families"]
    enough = {name: trials for name, trials in groups.items() if len(trials) >= _ENOUGH}
    if not enough:
        return empty(_TITLE, f"no family has {_ENOUGH} complete trials yet")
    rows = {
        name: _importances([t.optuna for t in trials], data.spec.study.direction)
        for name, trials in enough.items()
    }
    rows = {name: found for name, found in rows.items() if found}
    if not rows:
        return empty(_TITLE, "every complete trial has the same value")
    drawn = figure(
        _TITLE,
        barmode="stack",
        xaxis={"title": "share of the importance", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"type": "category", "range": [max(len(rows), _ROWS) - 0.5, -0.5]},
        showlegend=False,
        bargap=0.1,
    )
    for name, found in rows.items():
        own = iter(_OWN * len(found))
        for parameter, share in found.items():
            short = plain(parameter.removeprefix(f"{name}."))
            drawn.add_trace(
                Bar(
                    orientation="h",
                    y=[f"{name} ({len(enough[name])})"],
                    x=[round(share, 4)],
                    marker={"color": _SHARED.get(parameter) or next(own), "line": {"width": 1}},
                    text=f"{short} {share:.0%}" if share >= _TOLD else "",
                    insidetextanchor="middle",
                    textangle=0,
                    textposition="inside",
                    textfont={"color": "white", "size": 11},
                    hovertemplate=f"{name}<br>{short}: %{{x:.1%}}<extra></extra>",
                )
            )
    left_out = len(groups) - len(rows)
    few = f" · {left_out} with fewer than {_ENOUGH} left out" if left_out else ""
    note(drawn, f"PED-ANOVA · in brackets: complete trials{few}")
    return drawn


def _importances(trials: list[FrozenTrial], direction: Direction) -> dict[str, float]:
    """Return each parameter's share; empty where the trials do not differ."""
    params = [
        name
        for name in trials[0].params
        if all(name in t.params for t in trials) and len({t.params[name] for t in trials}) > 1
    ]
    if not params or len({trial.values[0] for trial in trials}) < 2:
        return {}
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return get_param_importances(study, params=params)
