"""Every trial's value by family: best, median, spread, and what was pruned or infeasible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from plotly.graph_objects import Box, Figure, Scatter

from lrsearch.reporting.figures.data import OUTCOMES, ZOOMED, StudyData
from lrsearch.reporting.figures.style import FAINT, LOOKS, empty, figure, marker, note, plain
from lrsearch.study import TrialRecord

_TITLE = "By family"
_MIN_BOX = 3
"""Complete trials from which quartiles are drawn."""


def by_family(data: StudyData) -> Figure:
    """Draw a row for each family, the one with the best trial on top.

    Filled points are complete trials and make up the box (quartiles, median); open ones were pruned
    and stand at the last value they reported. In the margin are those that diverged (×) or failed
    to train (+).
    """
    ended = [trial for trial in data.trials if trial.outcome in OUTCOMES]
    if not ended:
        return empty(_TITLE, "no trial has finished yet")
    grouped: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for trial in ended:
        grouped[trial.family, trial.outcome].append(trial)
    shown = {trial.number for trial in data.shown(ended)}
    size = Counter(trial.family for trial in ended)
    edges, margin = _value_axis(data)
    rows = {name: len(data.families) - i for i, name in enumerate(data.families)}
    drawn = figure(
        _TITLE,
        xaxis={"title": plain(data.metric), "range": data.good or edges},
        yaxis={
            "tickvals": list(rows.values()),
            "ticktext": [f"{name} ({size[name]})" for name in rows],
            "range": [0.4, len(rows) + 0.6],
        },
        showlegend=False,
    )
    count = dict.fromkeys(OUTCOMES, 0)
    for name, row in rows.items():
        for outcome in OUTCOMES:
            trials = grouped[name, outcome]
            count[outcome] += len(trials)
            if outcome == "complete":
                _add_box(drawn, trials, row)
            _add_points(drawn, [t for t in trials if t.number in shown], row, margin)
    note(
        drawn,
        f"filled: {count['complete']} complete, with quartiles · open: {count['pruned']} pruned · "
        f"in the margin: {count['failed to train']} failed to train (+), "
        f"{count['diverged']} diverged (×){f' · {ZOOMED}' if data.good else ''}"
        f"{f' · points of {len(shown)}' if len(shown) < len(ended) else ''}",
    )
    return drawn


def _value_axis(data: StudyData) -> tuple[tuple[float, float], float]:
    """Return the ends of the axis, and where in its worse margin infeasible trials lie."""
    values = [trial.value for trial in data.valued if trial.value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = (high - low) or abs(high) or 1.0
    margin = low - 0.1 * width if data.maximize else high + 0.1 * width
    return (min(low, margin) - 0.05 * width, max(high, margin) + 0.05 * width), margin


def _add_box(drawn: Figure, trials: Sequence[TrialRecord], row: int) -> None:
    """Draw the quartiles of one family's complete trials, if there are enough."""
    if len(trials) < _MIN_BOX:
        return
    drawn.add_trace(
        Box(
            x=np.array([t.value for t in trials], dtype=np.float32),
            y=np.full(len(trials), row, dtype=np.int16),
            orientation="h",
            boxpoints=False,
            width=0.7,
            line={"color": LOOKS[trials[0].family].color, "width": 1},
            fillcolor=FAINT,
            hoverinfo="skip",
        )
    )


def _add_points(drawn: Figure, trials: Sequence[TrialRecord], row: int, margin: float) -> None:
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
            + ("" if trials[0].infeasible else "<br>%{x:.4g}")
            + "<extra></extra>",
        )
    )
