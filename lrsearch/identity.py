"""Curve identity: two configurations whose learning-rate curves agree are one."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial

from lrsearch.schedules import Schedule
from lrsearch.storage import FINISHED

TOLERANCE = 1e-3
"""Curves agree where they differ by at most this share of `base_lr` (momentum: this much)."""
NEAR = 0.05
"""Only schedules whose `base_lr` differ by less are compared: all families come near it."""
LEAST = 0.01
"""A curve that rises above `TOLERANCE` of `base_lr` in a smaller share of the updates is none."""


class Curves(NamedTuple):
    """What a schedule does in a run: float64[total_steps] each; momentum NaN where left alone."""

    lr: NDArray[np.float64]
    momentum: NDArray[np.float64]


@lru_cache(maxsize=1000)
def curves(schedule: Schedule, total_steps: int) -> Curves:
    """Return the curves of a schedule that reads no losses."""
    momentum = [schedule.momentum(step, total_steps) for step in range(total_steps)]
    return Curves(schedule.curve(total_steps), np.array(momentum, dtype=np.float64))


def agree(one: Schedule, other: Schedule, total_steps: int) -> bool:
    """Return whether two schedules are the same in a run of that length.

    Those that read losses (`plateau`) agree with none: their curves depend on the run.
    """
    if one.shape.reads_losses or other.shape.reads_losses:
        return False
    top = max(one.base_lr, other.base_lr)
    a, b = curves(one, total_steps), curves(other, total_steps)
    return bool(
        np.abs(a.lr - b.lr).max() <= TOLERANCE * top
        and np.allclose(a.momentum, b.momentum, rtol=0, atol=TOLERANCE, equal_nan=True)
    )


def twin_of(schedule: Schedule, study: Study, number: int) -> FrozenTrial | None:
    """Return a trial that has ended and trained just what the trial of that number is to train."""
    trials = study.get_trials(deepcopy=False)
    trial = trials[number]
    total_steps = trial.user_attrs["total_steps"]
    for other in trials:
        attrs = other.user_attrs
        if (
            other.state not in FINISHED
            or "twin" in attrs
            or attrs.get("total_steps") != total_steps
        ):
            continue
        if not math.isclose(attrs["schedule"]["base_lr"], schedule.base_lr, rel_tol=NEAR):
            continue
        if _beside(other) == _beside(trial) and agree(
            Schedule.from_dict(attrs["schedule"]), schedule, total_steps
        ):
            return other
    return None


def is_degenerate(schedule: Schedule, total_steps: int) -> bool:
    """Return whether a schedule is all but zero throughout a run of that length."""
    if schedule.shape.reads_losses:
        return False
    above = curves(schedule, total_steps).lr > TOLERANCE * schedule.base_lr
    return bool(above.mean() < LEAST)


def searched_options(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values of the searched options of the task, by their names in the space."""
    return {name: value for name, value in trial.params.items() if name.startswith("task.")}


def _beside(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial has beside its schedule: searched options of the task, and its seed."""
    return {**searched_options(trial), "seed": trial.user_attrs.get("seed")}
