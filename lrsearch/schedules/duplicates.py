"""When two configurations are one: their learning-rate curves are the same."""

from __future__ import annotations

import math
from itertools import chain, islice

from lrsearch.schedules.clock import Clock
from lrsearch.schedules.schedule import Schedule

TOLERANCE = 1e-3
"""Curves are the same if they differ by at most this share of `base_lr` (momentum: this much)."""
PROBES = 16
"""Updates, spread over the run, that are compared before all: most curves differ at one of them."""
MIN_SHARE_ABOVE_ZERO = 0.01
"""A curve that rises above `TOLERANCE` of `base_lr` in a smaller share of the updates is none."""


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
    tolerance = TOLERANCE * max(one.base_lr, other.base_lr)

    def differ(step: int) -> bool:
        if abs(clock.lr(one, step) - clock.lr(other, step)) > tolerance:
            return True
        a, b = clock.momentum(one, step), clock.momentum(other, step)
        return a != b if a is None or b is None else abs(a - b) > TOLERANCE

    steps = range(clock.total_steps)
    probes = steps[:: math.ceil(len(steps) / PROBES)]
    return not any(map(differ, chain(probes, steps)))


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
