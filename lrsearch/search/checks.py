"""Checks: runs on further seeds that stop as soon as they are seen not to collapse.

Networks that collapse do so early, while rates are high. So a run that has come as far by a third
of its epochs as the trial's others had will hold as they did, and the rest would only say by how
much its seed differs. Beside a run that held, none of 90 checks of a small network's runs that
collapsed would have stopped, and 108 of 130 of those that held, 96 after two of six epochs
(`python -m tests.benchmarks.collapses --tasks small_conv`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_SHARE = 1 / 3
"""Of the full run, what a check trains at least."""


class Shown(NamedTuple):
    """What a run showed after an epoch: its value, and the rate of the last update."""

    value: float
    lr: float


def least_of_check(epochs: int) -> int:
    """Return how many epochs of a full run a check trains at least.

    Example:
        >>> least_of_check(6), least_of_check(10)
        (2, 4)
    """
    return min(epochs, max(2, math.ceil(epochs * LEAST_SHARE)))


def holds(epoch: int, value: float, others: Sequence[Sequence[Shown]], *, maximize: bool) -> bool:
    """Return whether a run is seen not to collapse, so that its check may stop.

    It has trained a third of its epochs, and one past the highest rate; and it lies no further
    behind the trial's other runs than one of these still changed from there to its end.

    Args:
        epoch: of the run, from 1.
        value: what it came to after that.
        others: what the trial's full runs showed after each of their epochs.
        maximize: whether more is better.

    Example:
        >>> other = [Shown(value, 0.1) for value in (0.5, 0.7, 0.75, 0.78, 0.8, 0.8)]
        >>> [holds(2, value, [other], maximize=True) for value in (0.72, 0.62, 0.1)]
        [True, True, False]
    """
    if not others:
        return False
    rates = [shown.lr for shown in others[0]]
    if epoch < least_of_check(len(rates)) or epoch < rates.index(max(rates)) + 2:
        return False
    sign = 1.0 if maximize else -1.0
    then = [sign * other[epoch - 1].value for other in others]
    changed = max(abs(sign * other[-1].value - at) for other, at in zip(others, then, strict=True))
    return sign * value >= min(then) - changed
