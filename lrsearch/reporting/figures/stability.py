"""The diagnosis in pictures: losses above the best rate, gradient norms, the rates, the cures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from plotly.graph_objects import Figure, Scatter

from lrsearch.diagnosis import Diagnosis
from lrsearch.reporting.figures.style import ALARM, DASHES, HUES, INK, figure, note


def losses_above(diagnosis: Diagnosis) -> Figure:
    """Draw the training loss at the best rate and above it."""
    drawn = _over_updates("Loss at the best rate and above it", "loss on one batch")
    for index, trace in enumerate(diagnosis.above):
        name = f"base_lr {trace.base_lr:.3g}"
        if trace.instability is not None:
            name += f", jumps at update {trace.instability[1]}"
        if trace.infeasible:
            name += ", learns nothing"
        _line(drawn, index, trace.losses, name)
    return drawn


def gradient_norms(diagnosis: Diagnosis) -> Figure:
    """Draw the gradient's norm at every update, at rising rates and where it was clipped."""
    title = "Gradient norm at the best rate and above it, and clipped"
    drawn = _over_updates(title, "L2 norm of the whole gradient")
    for index, trace in enumerate(diagnosis.above):
        _line(drawn, index, _finite(trace.grad_norms), f"base_lr {trace.base_lr:.3g}")
    for index, trace in enumerate(diagnosis.clipped[-1:], len(diagnosis.above)):
        name = f"base_lr {trace.base_lr:.3g}, clipped to {trace.clip_norm:.3g}"
        _line(drawn, index, _finite(trace.grad_norms), f"{name}: before")
        _line(drawn, index + 1, _finite(trace.clipped_norms), f"{name}: after")
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
    """Draw the loss that each run against the instability came to over its rate."""
    drawn = figure(
        "Loss against rate for each warmup length",
        xaxis={"title": "base_lr", "type": "log", "exponentformat": "power"},
        yaxis={"title": "training ends at a loss of", "type": "log", "exponentformat": "power"},
    )
    lengths = {"no warmup": (*diagnosis.sweep, *diagnosis.above[1:])}
    for trace in diagnosis.warmups:
        name = f"warmup of {trace.warmup_steps}, {trace.steps} updates in all"
        lengths[name] = (*lengths.get(name, ()), trace)
    if diagnosis.clipped:
        lengths["clipped"] = diagnosis.clipped
    for index, (name, traces) in enumerate(lengths.items()):
        shown = sorted((t for t in traces if t.finite), key=lambda trace: trace.base_lr)
        color = HUES[index % len(HUES)]
        drawn.add_trace(
            Scatter(
                x=[t.base_lr for t in shown], y=[t.final_loss for t in shown], name=name,
                mode="lines+markers" if index == 0 else "markers", line={"color": color},
                marker={
                    "color": color, "size": 10,
                    "symbol": ["circle" if t.stable else "x" for t in shown],
                },
                hovertemplate=f"{name}, base_lr %{{x:.3g}}: %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    guess = diagnosis.best.baseline
    _level(drawn, guess, "a guess", [diagnosis.sweep[0].base_lr, diagnosis.sweep[-1].base_lr])
    note(drawn, "× jumped, or learned nothing; runs that were not finite in the end are left out")
    return drawn


def losses_of_warmups(diagnosis: Diagnosis) -> Figure:
    """Draw the loss after each update of every warmup tried."""
    drawn = _over_updates("Loss by warmup length", "loss on one batch").update_xaxes(type="log")
    for index, trace in enumerate(diagnosis.warmups):
        _line(
            drawn, index, trace.losses,
            f"{trace.warmup_steps} updates to {trace.base_lr:.3g}"
            + ("" if trace.stable else ", does not hold"),
        )  # fmt: skip
    return drawn


def full_length(diagnosis: Diagnosis) -> Figure:
    """Draw lr* and what helps, each trained at full length."""
    drawn = _over_updates("At full length", "loss on one batch")
    for index, trace in enumerate(diagnosis.full_length):
        name = f"base_lr {trace.base_lr:.3g}"
        if trace.warmup_steps:
            name += f" after a warmup of {trace.warmup_steps}"
        if trace.clip_norm:
            name += f" clipped to {trace.clip_norm:.3g}"
        _line(drawn, index, trace.losses, f"{name}: best validation {trace.best_val_loss:.3g}")
    return drawn


def diagnosis_figures(diagnosis: Diagnosis) -> list[Figure]:
    """Draw all that there is to a diagnosis."""
    drawn = [rates, losses_above, gradient_norms, gradient_histogram]
    if diagnosis.unstable is not None:
        drawn.append(warmups)
    if diagnosis.warmups:
        drawn.append(losses_of_warmups)
    if diagnosis.full_length:
        drawn.append(full_length)
    return [draw(diagnosis) for draw in drawn]


def _over_updates(title: str, what: str) -> Figure:
    return figure(
        title,
        xaxis={"title": "update"},
        yaxis={"title": what, "type": "log", "exponentformat": "power"},
    )


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _line(drawn: Figure, index: int, values: np.ndarray, name: str) -> None:
    drawn.add_trace(
        Scatter(
            y=values, mode="lines", name=name,
            line={"color": HUES[index % len(HUES)], "dash": DASHES[index % 4], "width": 1.5},
            hovertemplate=f"{name}, update %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    )  # fmt: skip


def _level(drawn: Figure, y: float, name: str, ends: Sequence[float]) -> None:
    line = {"color": INK, "dash": "dash", "width": 1}
    drawn.add_trace(Scatter(x=ends, y=[y, y], mode="lines", name=name, line=line))
