"""Rules that pick a rate from a range test, on the logarithm of the rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BANDWIDTH = 0.2
"""Width of the smoothing kernel, in decades of the rate."""


@dataclass(frozen=True)
class LossCurve:
    """A range test smoothed for reading: log10 of the rates, losses and their slopes, all [N].

    Up to the minimum the rules look for where the loss falls; after it lies the edge.
    """

    log_lrs: Floats
    losses: Floats
    slopes: Floats

    @property
    def minimum(self) -> int:
        """The index of the lowest smoothed loss."""
        return int(np.argmin(self.losses))


def smooth(lrs: Floats, losses: Floats, bandwidth: float = BANDWIDTH) -> LossCurve:
    """Smooth a range test by local linear regression with a Gaussian kernel.

    Unlike a moving average of the past it has no lag, no bias at the start, and gives the slope
    with the loss. Losses above twice the first are cut, so that the blow-up drowns nothing.
    Fan & Gijbels 1996, "Local polynomial modelling and its applications".

    Example:
        >>> rates = np.geomspace(1e-5, 1, 201)
        >>> losses = 2 - np.tanh(2 * np.log10(100 * rates)) + 5 * rates**4
        >>> round(steepest(smooth(rates, losses)), 1)  # of a loss that is steepest at 0.01
        -2.0
    """
    x = np.log10(lrs)
    start = float(np.median(losses[: max(1, len(losses) // 10)]))
    y = np.minimum(losses, start + abs(start))
    distance = x[:, None] - x[None, :]
    weights = np.exp(-0.5 * (distance / bandwidth) ** 2)
    total = weights.sum(axis=1)
    x_mean = weights @ x / total
    y_mean = weights @ y / total
    x_spread = (weights * (x[None, :] - x_mean[:, None]) ** 2).sum(axis=1)
    covariance = (weights * (x[None, :] - x_mean[:, None]) * y[None, :]).sum(axis=1)
    slopes = covariance / np.maximum(x_spread, 1e-12)
    return LossCurve(x, y_mean + slopes * (x - x_mean), slopes)


def steepest(curve: LossCurve) -> float:
    """Pick where the loss falls fastest (Smith 2017; fastai and Lightning by default)."""
    end = curve.minimum + 1
    return float(curve.log_lrs[np.argmin(curve.slopes[:end])])


def minimum_tenth(curve: LossCurve) -> float:
    """Pick a tenth of the rate of the lowest loss (Howard & Gugger 2020, fastai's `minimum`)."""
    return float(curve.log_lrs[curve.minimum]) - 1


def valley(curve: LossCurve) -> float:
    """Pick the middle of the longest stretch over which the loss falls (ESRI's, in fastai)."""
    falling = np.concatenate([[False], curve.slopes[: curve.minimum + 1] < 0, [False]])
    edges = np.flatnonzero(np.diff(falling.astype(int)))
    if len(edges) == 0:
        return steepest(curve)
    starts, ends = edges[::2], edges[1::2] - 1
    drops = curve.losses[starts] - curve.losses[ends]
    longest = int(np.argmax(drops))
    middle = (curve.losses[starts[longest]] + curve.losses[ends[longest]]) / 2
    stretch = slice(starts[longest], ends[longest] + 1)
    return float(curve.log_lrs[stretch][np.argmin(np.abs(curve.losses[stretch] - middle))])


def slide(curve: LossCurve) -> float:
    """Pick the highest rate at which the loss still falls clearly (the interval slide rule).

    From the lowest loss to the left, the first rate whose slope is half of the steepest. Novetta's
    rule, in fastai as `slide`, which compares the slopes at the ends of a sliding interval.
    """
    before = curve.slopes[: curve.minimum + 1]
    clear = np.flatnonzero(before <= max(before.min(), before.min() / 2))
    return float(curve.log_lrs[clear[-1]])


def edge(curve: LossCurve) -> float:
    """Return where divergence begins: beyond the lowest loss, where half of the gain is lost again.

    The last rate tested, if the loss never rose so far.
    """
    half = (float(curve.losses[0]) + float(curve.losses[curve.minimum])) / 2
    beyond = np.flatnonzero(curve.losses[curve.minimum :] >= half)
    last = curve.minimum + int(beyond[0]) if len(beyond) else len(curve.losses) - 1
    return float(curve.log_lrs[last])


def moves(curve: LossCurve) -> float:
    """Return where the loss begins to move: the last rate before a tenth of its fall is done."""
    first, lowest = float(curve.losses[0]), float(curve.losses[curve.minimum])
    still = np.flatnonzero(curve.losses[: curve.minimum + 1] > first - (first - lowest) / 10)
    return float(curve.log_lrs[still[-1] if len(still) else 0])


RULES: dict[str, Callable[[LossCurve], float]] = {
    "steepest": steepest,
    "valley": valley,
    "minimum/10": minimum_tenth,
    "slide": slide,
}
"""By name: a smoothed curve → log10 of the rate picked."""
