"""What matters: how much each parameter decides about reaching a good value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Bar, Figure

from lrsearch.reporting.figures.data import StudyData, evenly
from lrsearch.reporting.figures.style import HUES, INK, MIN_ROWS, empty, figure, note, plain
from lrsearch.search import study_in_memory
from lrsearch.study import TrialRecord

Direction = Literal["minimize", "maximize"]
_TITLE = "What matters"
_MIN_TRIALS = 10
"""Complete trials from which an importance says something."""
_WEIGHED = 1000
"""Trials of a row that are weighed, evenly from the best to the worst: more change no share."""
_MIN_LABELLED = 0.12
"""The share from which there is room for a parameter's name."""
_SHARED = {"schedule": INK, "base_lr": HUES[0], "warmup": HUES[1], "warmup_steps": HUES[4]}
_OWN = (HUES[2], HUES[3], HUES[5], HUES[6])


def importance(data: StudyData) -> Figure:
    """Draw the importances of parameters over all families and within each, by Optuna's PED-ANOVA.

    Over all families only what every trial has can be weighed; within a family all its own.
    """
    groups = {"all families": data.ranked}
    groups |= {f: [t for t in data.ranked if t.family == f] for f in data.families}
    if len(data.families) == 1:
        del groups["all families"]
    enough = {name: trials for name, trials in groups.items() if len(trials) >= _MIN_TRIALS}
    if not enough:
        return empty(_TITLE, f"no family has {_MIN_TRIALS} complete trials yet")
    shares = {
        name: _importances(trials, data.spec.study.direction) for name, trials in enough.items()
    }
    shares = {name: share_of for name, share_of in shares.items() if share_of}
    if not shares:
        return empty(_TITLE, "every complete trial has the same value")
    drawn = figure(
        _TITLE,
        barmode="stack",
        xaxis={"title": "share of the importance", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"type": "category", "range": [max(len(shares), MIN_ROWS) - 0.5, -0.5]},
        showlegend=False,
        bargap=0.1,
    )
    for name, share_of in shares.items():
        _add_row(drawn, name, len(enough[name]), share_of)
    left_out = len(groups) - len(shares)
    few = f" · {left_out} with fewer than {_MIN_TRIALS} left out" if left_out else ""
    note(
        drawn,
        "what sets the best tenth of complete trials apart from the rest (PED-ANOVA); a row weighs "
        f"only what all of its trials have · in brackets: complete trials{few}",
    )
    return drawn


def _add_row(drawn: Figure, name: str, trials: int, share_of: Mapping[str, float]) -> None:
    """Draw the share of each parameter in one row: of a family, or of all."""
    own = iter(_OWN * len(share_of))
    for parameter, share in share_of.items():
        short = plain(parameter.removeprefix(f"{name}."))
        drawn.add_trace(
            Bar(
                orientation="h",
                y=[f"{name} ({trials})"],
                x=[round(share, 4)],
                marker={"color": _SHARED.get(parameter) or next(own), "line": {"width": 1}},
                text=f"{short} {share:.0%}" if share >= _MIN_LABELLED else "",
                insidetextanchor="middle",
                textangle=0,
                textposition="inside",
                textfont={"color": "white", "size": 11},
                hovertemplate=f"{name}<br>{short}: %{{x:.1%}}<extra></extra>",
            )
        )


def _as_complete(number: int, trial: TrialRecord) -> FrozenTrial:
    now = datetime.now()
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE,
        value=trial.mean,
        datetime_start=now,
        datetime_complete=now,
        params=dict(trial.params),
        distributions=dict(trial.distributions),
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _importances(trials: Sequence[TrialRecord], direction: Direction) -> dict[str, float]:
    """Return each parameter's share; empty where the trials do not differ."""
    params = [
        name
        for name in trials[0].params
        if all(name in t.params for t in trials) and len({t.params[name] for t in trials}) > 1
    ]
    if not params or len({trial.mean for trial in trials}) < 2:
        return {}
    from optuna.importance import get_param_importances  # loads scikit-learn

    shown = [_as_complete(place, trial) for place, trial in enumerate(evenly(trials, _WEIGHED))]
    study = study_in_memory(StudyDirection[direction.upper()], shown)
    return get_param_importances(study, params=params)
