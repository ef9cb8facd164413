"""What schedules come to on other seeds, estimated from a few seeds each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance

MIN_FREEDOM = 3
"""Degrees of freedom from which the spread between seeds is known well enough to say anything."""
MIN_SCHEDULES = 6
"""Schedules from which the spread between them is known well enough to draw means together."""


@dataclass(frozen=True)
class Estimate:
    """What a schedule is expected to come to on other seeds, and half the 95 % interval of that."""

    value: float
    error: float


class SeedModel:
    """How much runs vary between seeds and schedules between each other: empirical Bayes.

    The best of many noisy means lies above its truth. Here each mean is drawn towards the middle of
    all schedules by as much as seeds, and not schedules, explain it (James & Stein 1961; Efron &
    Morris 1975). Both spreads are robust: a few runs that collapse leave them alone.

    Args:
        values: of each schedule that was trained in full, what it came to on each of its seeds.

    Example:
        >>> means = [0.79, 0.80, 0.81, 0.82, 0.78]
        >>> model = SeedModel([(0.85, 0.81, 0.84), (0.80, 0.82), *((mean,) for mean in means)])
        >>> best = model.estimate((0.85, 0.81, 0.84))
        >>> 0.80 < best.value < 2.5 / 3
        True
    """

    def __init__(self, values: Sequence[Sequence[float]]) -> None:
        several = [seeds for seeds in values if len(seeds) > 1]
        self.known = sum(len(seeds) - 1 for seeds in several) >= MIN_FREEDOM
        """Whether enough is known of the spread between seeds to estimate anything."""
        if not self.known:
            return
        self._within = median(variance(seeds) / _median_share(len(seeds) - 1) for seeds in several)
        firsts = [seeds[0] for seeds in values]
        self._center = median(firsts)
        spread = 1.4826 * median(abs(first - self._center) for first in firsts)
        between = max(spread**2 - self._within, self._within / 4)
        self._between = between if len(values) >= MIN_SCHEDULES else math.inf

    def estimate(self, values: Sequence[float]) -> Estimate | None:
        """Return what a schedule of these values is expected to come to; `None` if unknown."""
        if not self.known or not values:
            return None
        noise = self._within / len(values)
        share = noise / (self._between + noise) if noise else 0.0
        value = fmean(values) + share * (self._center - fmean(values))
        return Estimate(value, 1.96 * math.sqrt(noise))


def _median_share(freedom: int) -> float:
    """Return the median of a variance as a share of its mean (Wilson & Hilferty 1931)."""
    return (1 - 2 / (9 * freedom)) ** 3
