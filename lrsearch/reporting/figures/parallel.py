"""Parallel coordinates: which values of the shared parameters the best trials have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import FAINT, INK, LOOKS, empty, figure, note, plain
from lrsearch.schedules import format_value
from lrsearch.study import TrialRecord

_TITLE = "Shared parameters"
_MANY = 100
"""Trials that are drawn at most, the best first: more are one dark block."""
_STRONG = 5
"""Trials that are drawn strongly."""


def parallel(data: StudyData) -> Figure:
    """Draw a line for each complete trial through base_lr, what all share, and the value.

    The best are drawn strongly; a click on a family in the legend hides it.
    """
    trials = data.ranked[:_MANY]
    if len(trials) < 2:
        return empty(_TITLE, "fewer than two trials are complete yet")
    axes: dict[str, list[float]] = {"base_lr": [trial.base_lr for trial in trials]}
    axes |= {name: values for name in trials[0].params if (values := _shared(trials, name))}
    axes[data.metric] = [trial.value or 0.0 for trial in trials]
    drawn = figure(
        _TITLE,
        xaxis={"tickvals": list(range(len(axes))), "ticktext": [plain(name) for name in axes],
               "range": [-0.2, len(axes) - 0.8], "gridcolor": FAINT},
        yaxis={"visible": False, "range": [-0.12, 1.12]},
        legend={"orientation": "h", "y": -0.14, "yanchor": "top"},
    )  # fmt: skip
    places = [_scaled(drawn, at, values) for at, values in enumerate(axes.values())]
    named: set[str] = set()
    for index, trial in reversed(list(enumerate(trials))):
        shown = "<br>".join(
            f"{plain(name)} {format_value(values[index])}" for name, values in axes.items()
        )
        drawn.add_trace(
            Scatter(
                x=list(range(len(axes))),
                y=[place[index] for place in places],
                mode="lines",
                line={"color": LOOKS[trial.family].color, "dash": LOOKS[trial.family].dash,
                      "width": 3 if index < _STRONG else 1},
                opacity=1.0 if index < _STRONG else 0.35,
                name=trial.family,
                legendgroup=trial.family,
                showlegend=trial.family not in named,
                hovertemplate=f"trial {trial.number}: {trial.family}<br>{shown}<extra></extra>",
            )
        )  # fmt: skip
        named.add(trial.family)
    note(drawn, f"strong: the best {min(_STRONG, len(trials))} · above and below: each axis's ends")
    return drawn


def _shared(trials: Sequence[TrialRecord], name: str) -> list[float]:
    """Return a further parameter's values where all trials have numbers that differ; else none."""
    found = [trial.params.get(name) for trial in trials]
    numbers = all(isinstance(value, int | float) for value in found)
    return list(map(float, found)) if numbers and name != "base_lr" and len(set(found)) > 1 else []  # type: ignore[arg-type]


def _scaled(drawn: Figure, at: int, values: Sequence[float]) -> list[float]:
    """Return values as places on an axis from 0 to 1, and write its ends there."""
    low, high = min(values), max(values)
    far = low > 0 and high > 10 * low
    scale: Callable[[float], float] = math.log10 if far else float
    for value, place, anchor in ((low, 0.0, "top"), (high, 1.0, "bottom")):
        drawn.add_annotation(
            x=at, y=place, text=format_value(value), showarrow=False, yanchor=anchor,
            font={"size": 11, "color": INK},
        )  # fmt: skip
    width = (scale(high) - scale(low)) or 1.0
    return [round((scale(value) - scale(low)) / width, 4) for value in values]
