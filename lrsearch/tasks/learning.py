"""What a loss tells: whether a run has learned, whether it jumped, whether it came back.

One measure for trials, for the diagnosis and for who reads either.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 0.01
"""The share of a loss by which another must lie below it to have fallen.

Small, since little can be learned of noisy targets; and enough, since both are of the same data.
"""
WELL = 0.1
"""The share by which it must lie below it to have fallen far."""
JUMP = 0.5
"""A loss that rises by more than this (`rises`) has jumped."""
NEAR = 0.5
"""A loss is near another up to this share above it."""


def has_fallen(loss: float, baseline: float, share: float = MARGIN) -> bool:
    """Return whether a loss lies by a real margin below what a run that learns must beat.

    That is the lower of the first loss and of what a constant guess gives: a network that blew up
    and now outputs the same for every input has fallen far, but learned nothing.

    Example:
        >>> has_fallen(0.4, baseline=2.303), has_fallen(2.301, baseline=2.303)
        (True, False)
        >>> has_fallen(2.2, baseline=2.303), has_fallen(2.2, baseline=2.303, share=WELL)
        (True, False)
    """
    return baseline - loss > share * abs(baseline)


def rises(losses: Floats, baseline: float, lowest: float = math.inf) -> Floats:
    """Return how far each loss [N] lies above the lowest so far, as a share.

    The share is that of the lowest itself, or of what a run must beat where that is larger; so a
    loss near zero may double, and a network that starts far above chance has room to fall.

    Args:
        losses: in order.
        baseline: what a run must beat to have learned, or the first loss.
        lowest: that of the losses before.

    Example:
        >>> rises(np.array([2.3, 0.1, 0.2, 2.4, 0.1]), baseline=2.3).round(2).tolist()
        [0.0, 0.0, 0.04, 1.0, 0.0]
    """
    below = np.minimum.accumulate(np.minimum(losses, lowest))
    scale = np.maximum(np.maximum(np.abs(below), abs(baseline)), 1e-12)
    shares: Floats = (losses - below) / scale
    return shares


def is_near(loss: float, other: float) -> bool:
    """Return whether a loss is lower than another, or at most half as much again.

    Example:
        >>> is_near(0.4, 0.3), is_near(0.5, 0.3)
        (True, False)
    """
    return loss - other <= NEAR * abs(other)
