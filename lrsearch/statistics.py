"""What can be said of schedules that were trained on the same few seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Schedules compared with the best of them; all in the metric's own unit, float64[K] each.

    `low` and `high` bound the mean of each alone. `difference` is how far each lies behind the best
    on the same seeds, `difference_low` and `difference_high` bound that for all K at once: with
    probability 0.95 none is wrong, though the best was picked by the same numbers. Who may lie
    behind by nothing cannot be told apart from the best.
    """

    best: int
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    difference: NDArray[np.float64]
    difference_low: NDArray[np.float64]
    difference_high: NDArray[np.float64]

    @property
    def indistinguishable(self) -> NDArray[np.bool_]:
        """Who cannot be told apart from the best; the best itself is among them."""
        return self.difference_low <= 0


def compare(values: NDArray[np.float64], *, maximize: bool = True) -> Comparison:
    """Compare schedules by their values on the same seeds.

    Differences are bounded by Tukey's range over the residuals of a two-way layout (schedules ×
    seeds): a seed that is easy for all does not count (Tukey 1953; Hsu 1996, "Multiple
    Comparisons", chapter 5). It takes the residuals to be about equally wide for all schedules.

    Args:
        values: float64[K, S], K ≥ 1 schedules on S ≥ 2 seeds, all finite.
        maximize: whether more is better.
    """
    count, seeds = values.shape
    mean = values.mean(axis=1)
    deviation = values.std(axis=1, ddof=1)
    alone = stats.t.ppf(0.5 + CONFIDENCE / 2, seeds - 1) * deviation / np.sqrt(seeds)
    best = int(mean.argmax() if maximize else mean.argmin())
    difference = np.abs(mean[best] - mean)
    width = np.zeros(count)
    if count > 1:
        residuals = values - mean[:, None] - values.mean(axis=0) + values.mean()
        freedom = (count - 1) * (seeds - 1)
        error = np.sqrt((residuals**2).sum() / freedom / seeds)
        width += _range(count, freedom) * error
        width[best] = 0.0
    return Comparison(
        best=best,
        mean=mean,
        deviation=deviation,
        low=mean - alone,
        high=mean + alone,
        difference=difference,
        difference_low=difference - width,
        difference_high=difference + width,
    )


@cache
def _range(count: int, freedom: int) -> float:
    """Return Tukey's critical range of so many means."""
    return float(stats.studentized_range.ppf(CONFIDENCE, count, freedom))
