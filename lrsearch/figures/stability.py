"""The diagnosis in pictures: losses above the best rate, gradient norms, the rates, the cures."""

from __future__ import annotations

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.figures.style import ALARM, INK, figure
from lrsearch.stability import Diagnosis, Trace
from lrsearch.stability.diagnosis import trains

_HUES = ("#0080c0", "#d55e00", "#009e73", "#c060a0")
_DASHES = ("solid", "dash", "dot", "dashdot")


def losses_above(found: Diagnosis) -> Figure:
    """Draw the training loss at the best rate and above it."""
    drawn = figure(
        "Loss at the best rate and above it",
        xaxis={"title": "update"},
        yaxis={"title": "training loss", "type": "log", "exponentformat": "power"},
    )
    for index, trace in enumerate(found.above):
        name = f"base_lr {trace.base_lr:.3g}"
        if trace.instability is not None:
            name += f", unstable at update {trace.instability[1]}"
        _line(drawn, index, trace.losses, name)
    return drawn


def gradient_norms(found: Diagnosis) -> Figure:
    """Draw the gradient's norm at every update, and the suggested threshold."""
    drawn = figure(
        "Gradient norm at the best rate and above it",
        xaxis={"title": "update"},
        yaxis={"title": "L2 norm of the whole gradient", "type": "log", "exponentformat": "power"},
    )
    for index, trace in enumerate(found.above):
        finite = np.where(np.isfinite(trace.grad_norms), trace.grad_norms, np.nan)
        _line(drawn, index, finite, f"base_lr {trace.base_lr:.3g}")
    _level(drawn, found.clip_norm, f"90th percentile {found.clip_norm:.3g}", [0, found.best.steps])
    return drawn


def gradient_histogram(found: Diagnosis) -> Figure:
    """Draw how often which gradient norm occurs at the best rate."""
    exponents = np.log10(np.maximum(found.best.grad_norms, 1e-12))
    counts, edges = np.histogram(exponents, bins=40)
    drawn = figure(
        f"Gradient norms at the best rate {found.best.base_lr:.3g}: "
        f"the 90th percentile is {found.clip_norm:.3g}",
        xaxis={"title": "L2 norm of the whole gradient", "type": "log", "exponentformat": "power"},
        yaxis={"title": "updates"},
        bargap=0.05,
    )
    middles = 10 ** ((edges[:-1] + edges[1:]) / 2)
    drawn.add_bar(x=middles, y=counts, width=np.diff(10**edges), marker_color=_HUES[0])
    drawn.add_vline(x=found.clip_norm, line={"color": INK, "dash": "dash"})
    return drawn


def rates(found: Diagnosis) -> Figure:
    """Draw the best validation loss over the rate; runs that learned nothing on their own line."""
    drawn = figure(
        f"Constant rates: the best is {found.best.base_lr:.3g}",
        xaxis={"title": "base_lr", "type": "log", "exponentformat": "power"},
        yaxis={"title": "best validation loss"},
    )
    feasible = [trace for trace in found.sweep if not trace.infeasible]
    top = max(trace.best_val_loss for trace in feasible) * 1.15
    drawn.add_trace(
        Scatter(
            x=[t.base_lr for t in feasible], y=[t.best_val_loss for t in feasible],
            mode="lines+markers", name="trains", line={"color": _HUES[0]}, marker={"size": 9},
        )
    )  # fmt: skip
    infeasible = [trace.base_lr for trace in found.sweep if trace.infeasible]
    drawn.add_trace(
        Scatter(
            x=infeasible, y=[top] * len(infeasible), mode="markers", name="learns nothing",
            marker={"color": ALARM, "symbol": "x", "size": 11},
        )
    )  # fmt: skip
    return drawn


def warmups(found: Diagnosis) -> Figure:
    """Draw which warmups and which clipping made which rate trainable."""
    drawn = figure(
        "Cures: how far the rate can rise",
        xaxis={"title": "warmup [updates] (0: none, gradient clipped)"},
        yaxis={"title": "base_lr", "type": "log", "exponentformat": "power"},
    )
    tried: tuple[Trace, ...] = (*found.warmups, *found.clipped)
    for works, name, color, symbol in (
        (True, "trains", _HUES[2], "circle"),
        (False, "does not", ALARM, "x"),
    ):
        shown = [trace for trace in tried if trains(trace, found.best) == works]
        drawn.add_trace(
            Scatter(
                x=[t.warmup_steps for t in shown], y=[t.base_lr for t in shown], mode="markers",
                name=name, marker={"color": color, "symbol": symbol, "size": 12},
            )
        )  # fmt: skip
    if found.unstable is not None:
        longest = max((trace.warmup_steps for trace in tried), default=1)
        _level(drawn, found.unstable.base_lr, "unstable without", [0, longest])
    return drawn


def diagnosis(found: Diagnosis) -> list[Figure]:
    """Draw all that there is to a diagnosis."""
    figures = [rates(found), losses_above(found), gradient_norms(found), gradient_histogram(found)]
    return [*figures, warmups(found)] if found.unstable is not None else figures


def _line(drawn: Figure, index: int, values: np.ndarray, name: str) -> None:
    drawn.add_trace(
        Scatter(
            y=values, mode="lines", name=name,
            line={"color": _HUES[index % 4], "dash": _DASHES[index % 4], "width": 1.5},
            hovertemplate=f"{name}, update %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    )  # fmt: skip


def _level(drawn: Figure, y: float, name: str, ends: list[int]) -> None:
    line = {"color": INK, "dash": "dash", "width": 1}
    drawn.add_trace(Scatter(x=ends, y=[y, y], mode="lines", name=name, line=line))
