"""How the search got on: the best value so far against epochs of training spent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.figures.data import StudyData
from lrsearch.figures.style import INK, empty, figure, note, plain

_TITLE = "Progress of the search"
_BLUE = "#0080c0"


def progress(data: StudyData) -> Figure:
    """Draw the best so far against the epochs spent, and those it would have taken unpruned."""
    ended = [trial for trial in data.trials if trial.optuna.datetime_complete]
    ended.sort(key=lambda trial: trial.optuna.datetime_complete or datetime.max)
    if not any(trial.outcome == "complete" for trial in ended):
        return empty(_TITLE, "no trial is complete yet")
    spent = np.cumsum([len(trial.epochs) for trial in ended])
    unpruned = spent + np.cumsum([data.saved(trial) for trial in ended])
    drawn = figure(
        _TITLE,
        xaxis={"title": "epochs of training spent", "rangemode": "tozero"},
        yaxis={"title": plain(data.metric)},
        legend={"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    )
    complete = [index for index, trial in enumerate(ended) if trial.outcome == "complete"]
    values = [float(ended[index].optuna.values[0]) for index in complete]
    drawn.add_trace(
        Scatter(
            x=spent[complete].astype(np.int32),
            y=np.array(values, dtype=np.float32),
            mode="markers",
            marker={"color": INK, "size": 5, "opacity": 0.8},
            name="complete trials",
            customdata=np.array([ended[i].number for i in complete], dtype=np.int32),
            hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
        )
    )
    best = np.maximum.accumulate(values) if data.maximize else np.minimum.accumulate(values)
    steps = [i for i in range(len(best)) if i == 0 or best[i] != best[i - 1]]
    lines: list[tuple[str, Any, dict[str, Any]]] = [("best so far", spent, {"width": 3})]
    if unpruned[-1] > spent[-1]:
        lines.append(("had none been pruned", unpruned, {"width": 2, "dash": "dot"}))
    for name, cost, line in lines:
        drawn.add_trace(
            Scatter(
                x=[int(cost[complete[i]]) for i in steps] + [int(cost[-1])],
                y=[float(best[i]) for i in steps] + [float(best[-1])],
                mode="lines",
                line={"shape": "hv", "color": _BLUE, **line},
                name=name,
                hovertemplate="%{y:.4g} after %{x} epochs<extra></extra>",
            )
        )
    saved = int(unpruned[-1] - spent[-1])
    note(
        drawn,
        f"{int(spent[-1])} epochs spent; pruning saved {saved} of {int(unpruned[-1])} "
        f"({saved / max(1, int(unpruned[-1])):.0%})",
    )
    return drawn
