"""How the search got on: the best value so far against epochs of training spent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import HUES, INK, empty, figure, note, plain

_TITLE = "Progress of the search"


def progress(data: StudyData) -> Figure:
    """Draw the best so far against the epochs spent, and those it would have taken unpruned."""
    ended = [trial for trial in data.trials if trial.ended]
    ended.sort(key=lambda trial: trial.ended or datetime.max)
    complete = [index for index, trial in enumerate(ended) if trial.outcome == "complete"]
    if not complete:
        return empty(_TITLE, "no trial is complete yet")
    spent = np.cumsum([len(trial.epochs) for trial in ended])
    unpruned = spent + np.cumsum([data.saved(trial) for trial in ended])
    values = np.array([ended[index].final_value for index in complete], dtype=np.float64)
    drawn = figure(
        _TITLE,
        xaxis={"title": "epochs of training spent", "rangemode": "tozero"},
        yaxis={"title": plain(data.metric)},
        legend={"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    )
    drawn.add_trace(
        Scatter(
            x=spent[complete].astype(np.int32),
            y=values.astype(np.float32),
            mode="markers",
            marker={"color": INK, "size": 5, "opacity": 0.8},
            name="complete trials",
            customdata=np.array([ended[i].number for i in complete], dtype=np.int32),
            hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
        )
    )
    best = np.maximum.accumulate(values) if data.maximize else np.minimum.accumulate(values)
    _add_best(drawn, "best so far", spent[[*complete, -1]], best, {"width": 3})
    saved = int(unpruned[-1] - spent[-1])
    if saved > 0:
        line = {"width": 2, "dash": "dot"}
        _add_best(drawn, "had none been pruned", unpruned[[*complete, -1]], best, line)
    note(
        drawn,
        f"{int(spent[-1])} epochs spent; pruning saved {saved} of {int(unpruned[-1])} "
        f"({saved / max(1, int(unpruned[-1])):.0%})",
    )
    return drawn


def _add_best(
    drawn: Figure,
    name: str,
    epochs: NDArray[np.int64],
    best: NDArray[np.float64],
    line: dict[str, Any],
) -> None:
    """Draw a step wherever the best changes; the last of `epochs` is those spent in all."""
    steps = [i for i in range(len(best)) if i == 0 or best[i] != best[i - 1]]
    drawn.add_trace(
        Scatter(
            x=[int(epochs[i]) for i in [*steps, -1]],
            y=[float(best[i]) for i in [*steps, -1]],
            mode="lines",
            line={"shape": "hv", "color": HUES[0], **line},
            name=name,
            hovertemplate="%{y:.4g} after %{x} epochs<extra></extra>",
        )
    )
