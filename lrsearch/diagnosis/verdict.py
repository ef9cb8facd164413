"""A diagnosis in words and numbers, and as a patch for the study file."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from lrsearch.diagnosis.stability import SEEDS, Diagnosis, holds
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
        lines.append(
            f"Training is stable at lr*, at 2, 5 and 10 times it, on each of {SEEDS} seeds: "
            "nothing to cure."
        )
        return [*lines, *gradients(best)]
    factor = unstable.base_lr / best.base_lr
    lines.append(
        f"Training is unstable at {unstable.base_lr:.3g} ({factor:.3g} × lr*): with seed "
        f"{unstable.seed}, {_how(unstable)}"
    )
    lines += gradients(best)
    lines += _tried(diagnosis)
    lines += _compared(diagnosis)
    lines += diagnosis.network.advice()
    if diagnosis.cure is None:
        lines.append(f"Nothing tried holds at full length on each of {SEEDS} seeds.")
        lines.append(f"So lower the rate: search below {unstable.base_lr:.3g}.")
    return lines


def patch(diagnosis: Diagnosis) -> dict[str, dict[str, Any]]:
    """Return the keys of the study file to set: none for a task that is stable.

    A warmup is laid before the run, as it was in the comparison.
    """
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
    unit = diagnosis.warmup_unit
    shortest = ceil(cure.warmup_steps / unit)
    longest = max(shortest, diagnosis.full_run // 10 // unit)
    space["warmup"] = {"choices": ["linear", "exponential", "cosine"]}
    space["warmup_steps"] = {"low": shortest, "high": longest, "log": True}
    space["warmup_prepend"] = True
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
    """Say what makes a run unstable."""
    said = []
    if trace.instability is not None:
        where, step = trace.instability
        words = "at the start" if where == "start" else "suddenly, in the middle"
        said.append(f"{words} the loss jumps at update {step}")
    if not trace.finite:
        said.append("it is not finite in the end")
    elif trace.infeasible:
        said.append(
            f"it ends at {trace.final_loss:.3g}, where a guess gives {trace.baseline:.3g}: "
            "nothing is learned"
        )
    else:
        said.append(f"it recovers to {trace.final_loss:.3g}")
    return ", and ".join(said) + "."


def _tried(diagnosis: Diagnosis) -> list[str]:
    """Say what came of warmups, of clipping and of another optimizer in short runs."""
    assert diagnosis.unstable is not None
    lines = []
    unstable = diagnosis.unstable.base_lr
    if not diagnosis.warmups:
        lines.append("The run is too short for a warmup of 10 updates within a tenth of it.")
    for trace in (trace for trace in diagnosis.warmups if trace.stable):
        share = trace.warmup_steps / diagnosis.full_run
        held = trace.steps - trace.warmup_steps
        lines.append(
            f"A warmup of {trace.warmup_steps} updates ({share:.1%} of the run) to "
            f"{_times(trace, unstable)} holds for {held} more on each of {SEEDS} seeds."
            + (" More than 5 %: train longer to make up for it." if share > 0.05 else "")
        )
    if failed := _without(diagnosis.warmups):
        longest = max(trace.warmup_steps for trace in failed)
        lines.append(f"No warmup up to {longest} updates holds to {_rates(failed)}.")
    for trace in (trace for trace in diagnosis.clipped if trace.stable):
        share = trace.clipped_share
        lines.append(
            f"With gradients clipped to {trace.clip_norm:.3g} it trains stably at "
            f"{_times(trace, unstable)} on each of {SEEDS} seeds, with {share:.0%} of the updates "
            + ("clipped: more than half, so rather lower the rate." if share > 0.5 else "clipped.")
        )
    if failed := _without(diagnosis.clipped):
        norms = dict.fromkeys(f"{trace.clip_norm:.3g}" for trace in failed)
        lines.append(
            f"With gradients clipped to {' or '.join(norms)} it does not train stably at "
            f"{_rates(failed)}."
        )
    feasible = [trace for trace in diagnosis.adam if trace.stable]
    if feasible:
        trace = min(feasible, key=lambda trace: trace.best_val_loss)
        lines.append(
            f"adam trains stably at {trace.base_lr:.3g}: best validation loss "
            f"{trace.best_val_loss:.3g} against {diagnosis.best.best_val_loss:.3g} at lr* after as "
            "many updates."
        )
    return lines


def _without(traces: Sequence[Trace]) -> list[Trace]:
    """Return those at rates that none of them has trained at."""
    reached = {trace.base_lr for trace in traces if trace.stable}
    return [trace for trace in traces if trace.base_lr not in reached]


def _times(trace: Trace, unstable: float) -> str:
    return f"{trace.base_lr:.3g}, {trace.base_lr / unstable:.3g} × the unstable rate,"


def _rates(traces: Sequence[Trace]) -> str:
    return " or ".join(dict.fromkeys(f"{trace.base_lr:.3g}" for trace in traces))


def _compared(diagnosis: Diagnosis) -> list[str]:
    """Say how what helps compares with lr* at full length, by the best checkpoint of each."""
    if not diagnosis.full_length:
        return []
    plain, *cures = diagnosis.full_length
    lines = [
        f"At full length ({diagnosis.full_run} updates) the best checkpoint at lr* has a "
        f"validation loss of {plain.best_val_loss:.3g}."
    ]
    for trace in cures:
        how = (
            f"with {trace.warmup_steps} updates of warmup laid before it"
            if trace.warmup_steps
            else f"clipped to {trace.clip_norm:.3g}"
        )
        if not trace.finite:
            end = f"with seed {trace.seed} its loss is not finite in the end"
        elif holds(trace, plain):
            better = trace.best_val_loss < plain.best_val_loss
            end = "better" if better else "no better at this constant rate"
            end += f"; it holds on each of {SEEDS} seeds"
        elif trace.infeasible:
            end = f"but with seed {trace.seed} it ends no lower than a guess"
        else:
            end = f"with seed {trace.seed} less than half of what lr* has learned"
        lines.append(f"At {trace.base_lr:.3g} {how} it is {trace.best_val_loss:.3g}, {end}.")
    return lines


def rounded(value: float) -> float:
    """Return a value with two digits, as it is to stand in a study file."""
    return float(f"{value:.2g}")
