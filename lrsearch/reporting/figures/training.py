"""What the learning rate did to a training: rate, losses and metrics over the same steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch.reporting.figures.data import OUTCOMES, StudyData
from lrsearch.reporting.figures.style import (
    ALARM,
    DASHES,
    HUES,
    SYMBOLS,
    End,
    axis_type,
    empty,
    figure,
    label_ends,
    note,
    plain,
    rounded,
)
from lrsearch.reporting.figures.winners import described
from lrsearch.study import TrialRecord, with_train

_TITLE = "What the learning rate did"


def training(data: StudyData, numbers: Sequence[int] | None = None) -> Figure:
    """Draw learning rate, losses and other metrics of some trials over their updates.

    Args:
        data: the study.
        numbers: the trials; the best two, and the last of each other outcome, if left out.
    """
    chosen = _examples(data) if numbers is None else [t for t in data.trials if t.number in numbers]
    chosen = [trial for trial in chosen if trial.epochs]
    if not chosen:
        return empty(_TITLE, "no trial has trained an epoch yet")
    names = list(dict.fromkeys(name for t in chosen for row in t.epochs for name in row.metrics))
    losses = [name for name in names if name == "loss" or name.endswith("_loss")]
    beside = [name for name in with_train(data.metric) if name in names or name == data.metric]
    panels = {"learning rate": [], "loss": losses, data.metric: beside}
    if data.metric in losses or not losses:
        del panels[data.metric if losses else "loss"]
    drawn = make_subplots(
        len(panels), 1, shared_xaxes=True, vertical_spacing=0.06, figure=figure(_TITLE)
    )
    for row, (title, shown) in enumerate(panels.items(), 1):
        values = [t.base_lr for t in chosen] if row == 1 else _values(chosen, shown)
        drawn.update_yaxes(title_text=plain(title), type=axis_type(values), row=row, col=1)
        for place, trial in enumerate(chosen):
            if row == 1:
                _add_rate(drawn, trial, place, data.metric)
            for index, name in enumerate(shown):
                _add_metric(drawn, trial, place, name, DASHES[index % 4], row)
    drawn.update_xaxes(title_text="updates", row=len(panels), col=1)
    drawn.update_layout(
        legend={"groupclick": "togglegroup", "orientation": "h", "y": -0.26, "yanchor": "top"}
    )
    _label(drawn, chosen, len(panels), beside[:-1])
    notes = [
        ", ".join(f"{plain(name)} {DASHES[index % 4]}" for index, name in enumerate(shown))
        for shown in panels.values()
        if len(shown) > 1
    ]
    if notes:
        note(drawn, "; ".join(notes))
    return drawn


def _label(
    drawn: Figure, chosen: Sequence[TrialRecord], rows: int, unlabeled: Sequence[str]
) -> None:
    """Write each trial's number at the end of its line in the last panel, the metric's."""
    axis = drawn.data[-1].yaxis
    lines = [trace for trace in drawn.data if trace.yaxis == axis and len(trace.x)]
    values = [value for trace in lines for value in trace.y if math.isfinite(value)]
    if not values or next(drawn.select_yaxes(row=rows)).type == "log":
        return
    pad = 0.08 * ((max(values) - min(values)) or 1.0)
    low, high = min(values) - pad, max(values) + pad
    drawn.update_yaxes(range=[low, high], row=rows)
    of_group = {str(trial.number): HUES[i % len(HUES)] for i, trial in enumerate(chosen)}
    label_ends(
        drawn,
        [
            End(trace.x[-1], trace.y[-1], f"#{trace.legendgroup}", of_group[trace.legendgroup])
            for trace in lines
            if math.isfinite(trace.y[-1]) and trace.name not in map(plain, unlabeled)
        ],
        low,
        high,
        row=rows,
    )


def _values(trials: Sequence[TrialRecord], names: Sequence[str]) -> list[float]:
    return [
        r.metrics[name] for t in trials for r in t.epochs for name in names if name in r.metrics
    ]


def _examples(data: StudyData) -> list[TrialRecord]:
    """Return the best two trials, and the last that was pruned, failed to train, diverged."""
    others = [[t for t in data.trials if t.outcome == outcome] for outcome in OUTCOMES[1:]]
    chosen = data.ranked[:2] + [trials[-1] for trials in others if trials]
    return chosen or list(data.trials[-1:])


def _add_rate(drawn: Figure, trial: TrialRecord, place: int, metric: str) -> None:
    steps, rates = trial.curve()
    reached = trial.diverged.step if trial.diverged else trial.last_run[-1].step
    trained = sum(step <= reached for step in steps)
    drawn.add_trace(
        Scatter(
            x=steps[:trained],
            y=rounded(rates[:trained]),
            mode="lines+markers",
            line={"color": HUES[place % len(HUES)], "width": 2},
            marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8, "maxdisplayed": 5},
            name=f"trial {trial.number}: {trial.family}, {trial.outcome}",
            legendgroup=str(trial.number),
            hovertemplate=f"{described(trial, metric)}<br>"
            "lr %{y:.4g} at update %{x}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    if trial.diverged:
        drawn.add_trace(
            Scatter(
                x=[trial.diverged.step],
                y=[trial.diverged.lr],
                mode="markers",
                marker={"symbol": "x", "color": ALARM, "size": 11},
                name="diverged",
                legendgroup=str(trial.number),
                hovertemplate=f"trial {trial.number} diverged at update %{{x}}, lr %{{y:.4g}}"
                "<extra></extra>",
            ),
            row=1,
            col=1,
        )


def _add_metric(
    drawn: Figure, trial: TrialRecord, place: int, name: str, dash: str, row: int
) -> None:
    points = trial.course(name)
    drawn.add_trace(
        Scatter(
            x=[step for step, _ in points],
            y=rounded(value for _, value in points),
            mode="lines+markers",
            line={"color": HUES[place % len(HUES)], "dash": dash, "width": 2},
            marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8},
            name=plain(name),
            legendgroup=str(trial.number),
            showlegend=False,
            hovertemplate=f"trial {trial.number}, update %{{x}}<br>{plain(name)} %{{y:.4g}}"
            "<extra></extra>",
        ),
        row=row,
        col=1,
    )
