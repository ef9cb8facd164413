"""When two configurations are one: their learning-rate curves are the same."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrsearch.schedules.clock import Clock
from lrsearch.schedules.schedule import Schedule

TOLERANCE = 1e-3
"""Curves are the same if they differ by at most this share of `base_lr` (momentum: this much)."""
MIN_SHARE_ABOVE_ZERO = 0.01
"""A curve that rises above `TOLERANCE` of `base_lr` in a smaller share of the updates is none."""


class Curves(NamedTuple):
    """What a schedule does in a run: float64[total_steps] each; momentum NaN where left alone."""

    lr: NDArray[np.float64]
    momentum: NDArray[np.float64]


@lru_cache(maxsize=1000)
def curves(schedule: Schedule, clock: Clock) -> Curves:
    """Return the curves of a schedule that reads no losses."""
    momentum = [clock.momentum(schedule, step) for step in range(clock.total_steps)]
    return Curves(clock.curve(schedule), np.array(momentum, dtype=np.float64))


def same_curve(one: Schedule, other: Schedule, clock: Clock) -> bool:
    """Return whether two schedules are the same in a run.

    Those that read losses (`plateau`) are the same as none: their curves depend on the run. So do
    those of warmups that are yet to be adjusted.

    Example:
        >>> from lrsearch.schedules import Constant, Step
        >>> one, other = Schedule(Constant(), 0.1), Schedule(Step(drop_factor=1.0), 0.1)
        >>> same_curve(one, other, Clock(total_steps=100, parts=10))
        True
    """
    if any(each.family.reads_losses or each.adjusts for each in (one, other)):
        return False
    top = max(one.base_lr, other.base_lr)
    a, b = curves(one, clock), curves(other, clock)
    return bool(
        np.abs(a.lr - b.lr).max() <= TOLERANCE * top
        and np.allclose(a.momentum, b.momentum, rtol=0, atol=TOLERANCE, equal_nan=True)
    )


def is_degenerate(schedule: Schedule, clock: Clock) -> bool:
    """Return whether a schedule is all but zero throughout a run.

    Example:
        >>> from lrsearch.schedules import Linear
        >>> is_degenerate(Schedule(Linear(), 0.1), Clock(total_steps=100, parts=10))
        False
    """
    if schedule.family.reads_losses:
        return False
    least = TOLERANCE * schedule.base_lr
    above = (True for step in range(clock.total_steps) if clock.lr(schedule, step) > least)
    # most schedules have shown that they are none after a few updates
    enough = math.ceil(MIN_SHARE_ABOVE_ZERO * clock.total_steps)
    return sum(islice(above, enough)) < enough
