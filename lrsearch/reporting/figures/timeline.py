"""Which worker trained which trial when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
from plotly.graph_objects import Bar, Figure, Scatter

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import ALARM, LOOKS, MIN_ROWS, empty, figure, note, plain
from lrsearch.storage import LeaseSpan

_TITLE = "Timeline"
_FEW = 300
"""Bars up to which patterns and outlines tell them apart; more would be all outline."""


def timeline(data: StudyData) -> Figure:
    """Draw a bar for each lease of a trial; marks show a trial that goes to another worker."""
    if not data.lease_spans:
        return empty(_TITLE, "no worker has taken a trial yet")
    workers = list(dict.fromkeys(span.worker for span in data.lease_spans))
    start = data.lease_spans[0].begun
    unit, seconds = _unit(max(_end(span) for span in data.lease_spans) - start)
    drawn = figure(
        _TITLE,
        barmode="overlay",
        bargap=0.25,
        xaxis={"title": f"{unit} since {time.strftime('%Y-%m-%d %H:%M', time.gmtime(start))} UTC"},
        yaxis={
            "tickvals": list(range(len(workers))),
            "ticktext": [plain(worker) for worker in workers],
            "range": [max(len(workers), MIN_ROWS) - 0.5, -0.5],
        },
    )
    few = len(data.lease_spans) <= _FEW
    trials = {trial.id: trial for trial in data.trials}
    for family in data.families:
        spans = [span for span in data.lease_spans if trials[span.trial_id].family == family]
        drawn.add_trace(
            Bar(
                orientation="h",
                width=0.75,  # Plotly's own depends on which rows a family has
                base=np.array([(s.begun - start) / seconds for s in spans], dtype=np.float32),
                x=np.array([(_end(s) - s.begun) / seconds for s in spans], dtype=np.float32),
                y=np.array([workers.index(s.worker) for s in spans], dtype=np.int16),
                marker={
                    "color": LOOKS[family].color,
                    "pattern": {"shape": LOOKS[family].pattern if few else "", "size": 5},
                    "line": {"width": 1 if few else 0, "color": "rgba(0, 0, 0, 0.4)"},
                },
                name=family,
                customdata=np.array([trials[s.trial_id].number for s in spans], dtype=np.int32),
                hovertemplate=f"trial %{{customdata}}: {family}<br>%{{x:.3g}} {unit}"
                "<extra></extra>",
            )
        )
    _mark_hand_overs(drawn, data, workers, seconds)
    return drawn


def _mark_hand_overs(
    drawn: Figure, data: StudyData, workers: Sequence[str], seconds: float
) -> None:
    """Join the leases of each trial that more than one worker has had."""
    start = data.lease_spans[0].begun
    numbers = {trial.id: trial.number for trial in data.trials}
    x: list[float | None] = []
    y: list[int | None] = []
    texts: list[str] = []
    for span, following in _hand_overs(data.lease_spans):
        x += [(_end(span) - start) / seconds, (following.begun - start) / seconds, None]
        y += [workers.index(span.worker), workers.index(following.worker), None]
        texts += [f"trial {numbers[span.trial_id]}"] * 3
    if texts:
        drawn.add_trace(
            Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                line={"color": ALARM, "width": 2},
                marker={"symbol": "diamond", "size": 8, "color": ALARM},
                name="hand-over",
                text=texts,
                hovertemplate="%{text} handed over<extra></extra>",
            )
        )
        note(drawn, f"trials that went on with another worker: {len(set(texts))}")


def _hand_overs(spans: Sequence[LeaseSpan]) -> list[tuple[LeaseSpan, LeaseSpan]]:
    """Return each span of a trial with the next in the same run: who waits goes on in another."""

    def run(span: LeaseSpan) -> tuple[int, int]:
        return span.trial_id, -2 if span.rung is None else span.rung

    by_run = groupby(sorted(spans, key=run), run)
    return [pair for _, of_run in by_run for pair in pairwise(of_run)]


def _end(span: LeaseSpan) -> float:
    return time.time() if span.ended is None else span.ended


def _unit(duration: float) -> tuple[str, float]:
    """Return the unit of time in which `duration` (seconds) reads well, and its seconds."""
    for unit, seconds in (("hours", 3600.0), ("minutes", 60.0)):
        if duration > 3 * seconds:
            return unit, seconds
    return "seconds", 1.0
