"""Which worker trained which trial when."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from plotly.graph_objects import Bar, Figure, Scatter

from lrsearch.figures.data import Held, StudyData
from lrsearch.figures.style import ALARM, LOOKS, empty, figure, note, plain

_TITLE = "Timeline"
_FEW = 300
"""Bars up to which patterns and outlines tell them apart; more would be all outline."""
_ROWS = 4
"""Rows that there is room for at least: a single bar is not to fill the figure."""


def timeline(data: StudyData) -> Figure:
    """Draw a bar each time a worker held a trial; marks show a trial going to another worker."""
    if not data.held:
        return empty(_TITLE, "no worker has taken a trial yet")
    families = {trial.number: trial.family for trial in data.trials}
    workers = list(dict.fromkeys(held.worker for held in data.held))
    start = data.held[0].begun
    unit, seconds = _unit(max(_end(held) for held in data.held) - start)
    drawn = figure(
        _TITLE,
        barmode="overlay",
        bargap=0.25,
        xaxis={"title": f"{unit} since {time.strftime('%Y-%m-%d %H:%M', time.gmtime(start))} UTC"},
        yaxis={
            "tickvals": list(range(len(workers))),
            "ticktext": [plain(worker) for worker in workers],
            "range": [max(len(workers), _ROWS) - 0.5, -0.5],
        },
    )
    few = len(data.held) <= _FEW
    for family in data.families:
        shown = [held for held in data.held if families.get(held.trial) == family]
        drawn.add_trace(
            Bar(
                orientation="h",
                base=np.array([(h.begun - start) / seconds for h in shown], dtype=np.float32),
                x=np.array([(_end(h) - h.begun) / seconds for h in shown], dtype=np.float32),
                y=np.array([workers.index(h.worker) for h in shown], dtype=np.int16),
                marker={
                    "color": LOOKS[family].color,
                    "pattern": {"shape": LOOKS[family].pattern if few else "", "size": 5},
                    "line": {"width": 1 if few else 0, "color": "rgba(0, 0, 0, 0.4)"},
                },
                name=family,
                customdata=np.array([h.trial for h in shown], dtype=np.int32),
                hovertemplate=f"trial %{{customdata}}: {family}<br>%{{x:.3g}} {unit}"
                "<extra></extra>",
            )
        )
    _mark_hand_overs(drawn, data.held, workers, start, seconds)
    return drawn


def _mark_hand_overs(
    drawn: Figure, held: Sequence[Held], workers: list[str], start: float, seconds: float
) -> None:
    """Join the holds of each trial that more than one worker had in hand."""
    count = Counter(h.trial for h in held)
    moved = [trial for trial in count if count[trial] > 1]
    x: list[float | None] = []
    y: list[int | None] = []
    for trial in moved:
        holds = [h for h in held if h.trial == trial]
        for one, other in pairwise(holds):
            x += [(_end(one) - start) / seconds, (other.begun - start) / seconds, None]
            y += [workers.index(one.worker), workers.index(other.worker), None]
    if moved:
        drawn.add_trace(
            Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                line={"color": ALARM, "width": 2},
                marker={"symbol": "diamond", "size": 8, "color": ALARM},
                name="hand-over",
                text=[f"trial {trial}" for trial in moved for _ in range(3 * (count[trial] - 1))],
                hovertemplate="%{text} handed over<extra></extra>",
            )
        )
        note(drawn, f"trials that went on with another worker: {len(moved)}")


def _end(held: Held) -> float:
    return time.time() if held.ended is None else held.ended


def _unit(duration: float) -> tuple[str, float]:
    """Return the unit of time in which `duration` (seconds) reads well, and its seconds."""
    for unit, seconds in (("hours", 3600.0), ("minutes", 60.0)):
        if duration > 3 * seconds:
            return unit, seconds
    return "seconds", 1.0
