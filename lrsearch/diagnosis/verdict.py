"""A diagnosis in words and numbers, and as a patch for the study file."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrsearch.diagnosis.stability import Diagnosis, trains
from lrsearch.diagnosis.trace import Trace

EXPLODES = 100.0
"""A gradient that grows by this factor over a run explodes."""
VANISHES = 1e-3
"""A first layer whose gradient is this part of the last's learns nothing: it vanishes."""


def verdict(diagnosis: Diagnosis) -> list[str]:
    """Return the diagnosis, a sentence or two each."""
    best, unstable = diagnosis.best, diagnosis.unstable
    lines = [f"The best constant rate is {best.base_lr:.3g} (lr*)."]
    infeasible = [trace.base_lr for trace in diagnosis.sweep if trace.infeasible]
    above = [rate for rate in infeasible if rate > best.base_lr]
    if above:
        lines.append(f"From {min(above):.3g} on nothing is learned.")
    if unstable is None:
        lines.append("Training is stable at lr*, at 2 and at 5 times it: nothing to cure.")
        return [*lines, *gradients(best)]
    factor = unstable.base_lr / best.base_lr
    lines.append(
        f"Training is unstable at {unstable.base_lr:.3g} ({factor:g} × lr*): {_how(unstable)}"
    )
    lines += gradients(best)
    lines += _cures(diagnosis)
    return lines


def patch(diagnosis: Diagnosis) -> dict[str, dict[str, Any]]:
    """Return the keys of the study file to set: none for a task that is stable."""
    if diagnosis.unstable is None:
        return {}
    cure = diagnosis.cure
    low = rounded(diagnosis.best.base_lr / 10)
    if cure is None:
        high = rounded(diagnosis.unstable.base_lr)
        return {"space": {"base_lr": {"low": low, "high": high, "log": True}}}
    high = rounded(cure.base_lr)
    space: dict[str, Any] = {"base_lr": {"low": low, "high": high, "log": True}}
    if cure.clip_norm is not None:
        return {"task": {"clip_norm": rounded(cure.clip_norm)}, "space": space}
    longest = max(cure.warmup_steps, diagnosis.full_run // 10)
    space["warmup"] = {"choices": ["linear", "exponential", "cosine"]}
    space["warmup_steps"] = {"low": cure.warmup_steps, "high": longest, "log": True}
    return {"space": space}


def gradients(trace: Trace) -> list[str]:
    """Say whether the gradients of a run explode or vanish, and where."""
    lines = []
    tenth = max(1, len(trace.losses) // 10)
    growth = float(
        np.median(trace.grad_norms[-tenth:]) / max(np.median(trace.grad_norms[:tenth]), 1e-30)
    )
    if growth > EXPLODES:
        lines.append(f"The gradient explodes: its norm grows {growth:.3g} times over the run.")
    weights = float(trace.weight_norms[-1] / max(trace.weight_norms[0], 1e-30))
    if weights > EXPLODES:
        lines.append(f"The weights explode: their norm grows {weights:.3g} times over the run.")
    ratio = float(
        np.median(trace.first_norms[:tenth]) / max(np.median(trace.last_norms[:tenth]), 1e-30)
    )
    if ratio < VANISHES:
        lines.append(
            f"The gradient vanishes towards the input: the first layer's is {ratio:.1e} of the "
            "last's. Normalisation or residual connections mend that; no schedule does."
        )
    return lines


def diagnosis_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis as plain JSON, without the curves."""
    cure, unstable = diagnosis.cure, diagnosis.unstable
    instability = unstable.instability if unstable else None
    return {
        "best_base_lr": diagnosis.best.base_lr,
        "unstable_base_lr": unstable.base_lr if unstable else None,
        "instability": {"where": instability[0], "step": instability[1]} if instability else None,
        "clip_norm": diagnosis.clip_norm,
        "cure": {
            "base_lr": cure.base_lr,
            "warmup_steps": cure.warmup_steps,
            "clip_norm": cure.clip_norm,
        }
        if cure
        else None,
        "verdict": verdict(diagnosis),
        "patch": patch(diagnosis),
    }


def _how(trace: Trace) -> str:
    if trace.instability is None:
        return f"the loss ends at {trace.final_loss:.3g}, no lower than it started."
    where, step = trace.instability
    words = "at the start" if where == "start" else "suddenly, in the middle"
    end = "" if trace.finite else " and is not finite in the end"
    return f"{words}: the loss jumps at update {step}{end}."


def _cures(diagnosis: Diagnosis) -> list[str]:
    """Say what helped: warmup, clipping, another optimizer, the network; a lower rate last."""
    assert diagnosis.unstable is not None
    lines = []
    unstable = diagnosis.unstable.base_lr
    warm = [trace for trace in diagnosis.warmups if trains(trace, diagnosis.best)]
    if warm:
        trace = warm[-1]
        share = trace.warmup_steps / diagnosis.full_run
        line = (
            f"A warmup of {trace.warmup_steps} updates ({share:.1%} of the run, laid before it) "
            f"trains stably at {trace.base_lr:.3g}, {trace.base_lr / unstable:.3g} × the unstable "
            f"rate; best validation loss {trace.best_val_loss:.3g} against "
            f"{diagnosis.best.best_val_loss:.3g} at lr*."
        )
        lines.append(line + (" Train longer to make up for it." if share > 0.05 else ""))
    elif diagnosis.warmups:
        longest = max(trace.warmup_steps for trace in diagnosis.warmups)
        lines.append(f"No warmup up to {longest} updates (a tenth of the run) helps at 5 × that.")
    else:
        lines.append("The run is too short for a warmup of 10 updates within a tenth of it.")
    for trace in diagnosis.clipped:
        share = trace.clipped_share
        state = "trains stably" if trains(trace, diagnosis.best) else "does not train"
        lines.append(
            f"With gradients clipped to {diagnosis.clip_norm:.3g} (their 90th percentile at lr*) "
            f"it {state} at {trace.base_lr:.3g}; {share:.0%} of the updates were clipped"
            + (": more than half, so lower the rate instead." if share > 0.5 else ".")
        )
    feasible = [trace for trace in diagnosis.adam if trace.stable]
    if feasible:
        trace = min(feasible, key=lambda trace: trace.best_val_loss)
        lines.append(
            f"adam trains stably at {trace.base_lr:.3g}: best validation loss "
            f"{trace.best_val_loss:.3g} against {diagnosis.best.best_val_loss:.3g} at lr*."
        )
    lines.append(
        "In the network, normalisation, residual connections or branches that start at "
        "zero make training more stable."
    )
    if diagnosis.cure is None:
        lines.append(f"Else lower the rate: search below {unstable:.3g}.")
    return lines


def rounded(value: float) -> float:
    """Return a value with two digits, as it is to stand in a study file."""
    return float(f"{value:.2g}")
