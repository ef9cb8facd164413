"""The diagnosis in pictures: losses above the best rate, gradient norms, the rates, the cures."""

from __future__ import annotations

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.diagnosis import Diagnosis, Trace, trains
from lrsearch.reporting.figures.style import ALARM, DASHES, HUES, INK, figure


def losses_above(diagnosis: Diagnosis) -> Figure:
    """Draw the training loss at the best rate and above it."""
    drawn = figure(
        "Loss at the best rate and above it",
        xaxis={"title": "update"},
        yaxis={"title": "training loss", "type": "log", "exponentformat": "power"},
    )
    for index, trace in enumerate(diagnosis.above):
        name = f"base_lr {trace.base_lr:.3g}"
        if trace.instability is not None:
            name += f", unstable at update {trace.instability[1]}"
        _line(drawn, index, trace.losses, name)
    return drawn


def gradient_norms(diagnosis: Diagnosis) -> Figure:
    """Draw the gradient's norm at every update, and the suggested threshold."""
    drawn = figure(
        "Gradient norm at the best rate and above it",
        xaxis={"title": "update"},
        yaxis={"title": "L2 norm of the whole gradient", "type": "log", "exponentformat": "power"},
    )
    for index, trace in enumerate(diagnosis.above):
        finite = np.where(np.isfinite(trace.grad_norms), trace.grad_norms, np.nan)
        _line(drawn, index, finite, f"base_lr {trace.base_lr:.3g}")
    clip_norm = diagnosis.clip_norm
    _level(drawn, clip_norm, f"90th percentile {clip_norm:.3g}", [0, diagnosis.best.steps])
    return drawn


def gradient_histogram(diagnosis: Diagnosis) -> Figure:
    """Draw how often which gradient norm occurs at the best rate."""
    exponents = np.log10(np.maximum(diagnosis.best.grad_norms, 1e-12))
    counts, edges = np.histogram(exponents, bins=40)
    drawn = figure(
        f"Gradient norms at the best rate {diagnosis.best.base_lr:.3g}: "
        f"the 90th percentile is {diagnosis.clip_norm:.3g}",
        xaxis={"title": "L2 norm of the whole gradient", "type": "log", "exponentformat": "power"},
        yaxis={"title": "updates"},
        bargap=0.05,
    )
    middles = 10 ** ((edges[:-1] + edges[1:]) / 2)
    drawn.add_bar(x=middles, y=counts, width=np.diff(10**edges), marker_color=HUES[0])
    drawn.add_vline(x=diagnosis.clip_norm, line={"color": INK, "dash": "dash"})
    return drawn


def rates(diagnosis: Diagnosis) -> Figure:
    """Draw the best validation loss over the rate; runs that learned nothing on their own line."""
    drawn = figure(
        f"Constant rates: the best is {diagnosis.best.base_lr:.3g}",
        xaxis={"title": "base_lr", "type": "log", "exponentformat": "power"},
        yaxis={"title": "best validation loss"},
    )
    feasible = [trace for trace in diagnosis.sweep if not trace.infeasible]
    top = max(trace.best_val_loss for trace in feasible) * 1.15
    drawn.add_trace(
        Scatter(
            x=[t.base_lr for t in feasible], y=[t.best_val_loss for t in feasible],
            mode="lines+markers", name="trains", line={"color": HUES[0]}, marker={"size": 9},
        )
    )  # fmt: skip
    infeasible = [trace.base_lr for trace in diagnosis.sweep if trace.infeasible]
    drawn.add_trace(
        Scatter(
            x=infeasible, y=[top] * len(infeasible), mode="markers", name="learns nothing",
            marker={"color": ALARM, "symbol": "x", "size": 11},
        )
    )  # fmt: skip
    return drawn


def warmups(diagnosis: Diagnosis) -> Figure:
    """Draw which warmups and which clipping made which rate trainable."""
    drawn = figure(
        "Cures: how far the rate can rise",
        xaxis={"title": "warmup [updates] (0: none, gradient clipped)"},
        yaxis={"title": "base_lr", "type": "log", "exponentformat": "power"},
    )
    tried: tuple[Trace, ...] = (*diagnosis.warmups, *diagnosis.clipped)
    for works, name, color, symbol in (
        (True, "trains", HUES[2], "circle"),
        (False, "does not", ALARM, "x"),
    ):
        shown = [trace for trace in tried if trains(trace, diagnosis.best) == works]
        drawn.add_trace(
            Scatter(
                x=[t.warmup_steps for t in shown], y=[t.base_lr for t in shown], mode="markers",
                name=name, marker={"color": color, "symbol": symbol, "size": 12},
            )
        )  # fmt: skip
    if diagnosis.unstable is not None:
        longest = max((trace.warmup_steps for trace in tried), default=1)
        _level(drawn, diagnosis.unstable.base_lr, "unstable without", [0, longest])
    return drawn


def diagnosis_figures(diagnosis: Diagnosis) -> list[Figure]:
    """Draw all that there is to a diagnosis."""
    always = (rates, losses_above, gradient_norms, gradient_histogram)
    chosen = always if diagnosis.unstable is None else (*always, warmups)
    return [draw(diagnosis) for draw in chosen]


def _line(drawn: Figure, index: int, values: np.ndarray, name: str) -> None:
    drawn.add_trace(
        Scatter(
            y=values, mode="lines", name=name,
            line={"color": HUES[index % 4], "dash": DASHES[index % 4], "width": 1.5},
            hovertemplate=f"{name}, update %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    )  # fmt: skip


def _level(drawn: Figure, y: float, name: str, ends: list[int]) -> None:
    line = {"color": INK, "dash": "dash", "width": 1}
    drawn.add_trace(Scatter(x=ends, y=[y, y], mode="lines", name=name, line=line))
