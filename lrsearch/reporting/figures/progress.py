"""How the search got on: the best value so far against epochs of training spent."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from statistics import fmean

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.data import MANY, OUTCOMES, StudyData, evenly
from lrsearch.reporting.figures.style import HUES, INK, empty, figure, note, plain

_TITLE = "Progress of the search"


def progress(data: StudyData) -> Figure:
    """Draw the best mean so far against the epochs spent; a point for each full run."""
    spent, points, best = _history(data)
    if not points:
        return empty(_TITLE, "no trial is complete yet")
    drawn = figure(
        _TITLE,
        xaxis={"title": "epochs of training spent", "rangemode": "tozero"},
        yaxis={"title": plain(data.metric)},
        legend={"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    )
    shown = evenly(points, MANY)
    if len(shown) < len(points):  # the line stays as it is without what lies on it
        best = best[:1] + [after for before, after in pairwise(best) if before[1] != after[1]]
    drawn.add_trace(
        Scatter(
            x=np.array([at for at, _, _ in shown], dtype=np.int32),
            y=np.array([value for _, value, _ in shown], dtype=np.float32),
            mode="markers",
            marker={"color": INK, "size": 5, "opacity": 0.8},
            name="full runs",
            customdata=np.array([number for *_, number in shown], dtype=np.int32),
            hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
        )
    )
    drawn.add_trace(
        Scatter(
            x=[at for at, _ in best] + [spent],
            y=[float(f"{mean:.6g}") for _, mean in best] + [float(f"{best[-1][1]:.6g}")],
            mode="lines",
            line={"shape": "hv", "color": HUES[0], "width": 3},
            name="best mean so far",
            hovertemplate="%{y:.4g} after %{x} epochs<extra></extra>",
        )
    )
    part = f" · {len(shown)} of {len(points)} full runs" if len(shown) < len(points) else ""
    unpruned = data.rungs[-1].epochs * sum(trial.outcome in OUTCOMES for trial in data.trials)
    note(
        drawn,
        f"{spent} epochs spent, where one full run of each trial would have taken {unpruned} · the "
        f"line falls where a further seed corrects the best{part}",
    )
    return drawn


def _history(
    data: StudyData,
) -> tuple[int, list[tuple[int, float, int]], list[tuple[int, float]]]:
    """Return the epochs spent, full runs (when, value, trial), and the best mean (when, mean)."""
    trials = {trial.number: trial for trial in data.trials if not trial.infeasible}
    pick = max if data.maximize else min
    spent = 0
    points: list[tuple[int, float, int]] = []
    best: list[tuple[int, float]] = []
    values: dict[int, list[float]] = defaultdict(list)
    means: dict[int, float] = {}
    leader = -1
    for end in data.run_ends:
        spent += end.epochs
        trial = trials.get(end.trial)
        rung = data.rungs[min(end.run, len(data.rungs) - 1)]
        value = trial.reports.get(rung.step, math.nan) if trial and rung.full else math.nan
        if math.isnan(value):
            continue
        values[end.trial].append(value)
        points.append((spent, value, end.trial))
        means[end.trial] = fmean(values[end.trial])
        rivals = means if leader in (-1, end.trial) else (leader, end.trial)
        leader = pick(rivals, key=means.__getitem__)
        best.append((spent, means[leader]))
    return spent, points, best
