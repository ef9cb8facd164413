"""What can be said of schedules that were trained on the same few seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
MIN_FREEDOM = 3
"""Degrees of freedom from which an interval says anything: of one mean, 4 seeds."""
OUTLIER_VARIANCE_RATIO = 10.0
"""A variance over the seeds so many times the median one is no accident (1 in 10⁶ for 5 seeds)."""


@dataclass(frozen=True)
class Comparison:
    """Schedules compared with the best of them; all in the metric's own unit, float64[K] each.

    `low` and `high` bound the mean of each alone. `difference` is how far each lies behind the best
    on the same seeds, `difference_low` and `difference_high` bound that for all K at once: with
    probability 0.95 none is wrong, though the best was picked by the same numbers. Who may lie
    behind by nothing cannot be told apart from the best. A bound is infinite where the seeds are
    too few to give one: with one or two degrees of freedom Student's would be wide and say nothing.
    """

    best: int
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    difference: NDArray[np.float64]
    difference_low: NDArray[np.float64]
    difference_high: NDArray[np.float64]
    outlier: NDArray[np.bool_]
    """Who varies far more between seeds than the others, as what collapses on some seeds does."""

    @property
    def indistinguishable(self) -> NDArray[np.bool_]:
        """Who cannot be told apart from the best; the best itself is among them."""
        return self.difference_low <= 0


def compare(values: NDArray[np.float64], *, maximize: bool = True) -> Comparison:
    """Compare schedules by their values on the same seeds.

    Differences are bounded by Tukey's range over the residuals of a two-way layout (schedules ×
    seeds): a seed that is easy for all does not count (Tukey 1953; Hsu 1996, "Multiple
    Comparisons", chapter 5). That takes residuals to be about equally wide for all, so a schedule
    that is an outlier stays out of them and is bounded by paired t-tests, corrected for all pairs.

    Args:
        values: float64[K, S], K ≥ 1 schedules on S ≥ 2 seeds, all finite.
        maximize: whether more is better.

    Example:
        >>> values = np.array([[0.90, 0.91, 0.92], [0.90, 0.92, 0.91], [0.50, 0.52, 0.51]])
        >>> comparison = compare(values)
        >>> comparison.best, comparison.indistinguishable.tolist()
        (0, [True, True, False])
    """
    count, seeds = values.shape
    mean = values.mean(axis=1)
    deviation = values.std(axis=1, ddof=1)
    alone = np.full(count, np.inf)
    if seeds > MIN_FREEDOM:
        alone = _students(0.5 + CONFIDENCE / 2, seeds - 1) * deviation / np.sqrt(seeds)
    best = int(mean.argmax() if maximize else mean.argmin())
    difference = np.abs(mean[best] - mean)
    outlier = deviation**2 > OUTLIER_VARIANCE_RATIO * np.median(deviation**2)
    width = np.zeros(count)
    regular = values[~outlier]
    if len(regular) > 1:
        residuals = regular - regular.mean(axis=1)[:, None] - regular.mean(axis=0) + regular.mean()
        freedom = (len(regular) - 1) * (seeds - 1)
        error = np.sqrt((residuals**2).sum() / freedom / seeds)
        width += _range(count, freedom) * error if freedom >= MIN_FREEDOM else np.inf
    for index in range(count):
        if outlier[index] or outlier[best]:
            width[index] = np.inf
            if seeds > MIN_FREEDOM:
                error = (values[best] - values[index]).std(ddof=1) / np.sqrt(seeds)
                share = 1 - (1 - CONFIDENCE) / 2 / max(1, count * (count - 1) / 2)
                width[index] = _students(share, seeds - 1) * error
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
        outlier=outlier,
    )


# scipy.stats takes most of a second to load, which only those wait for who compare schedules.


def _students(share: float, freedom: int) -> float:
    """Return the value below which this share of Student's t lies."""
    from scipy import stats

    return float(stats.t.ppf(share, freedom))


@cache
def _range(count: int, freedom: int) -> float:
    """Return Tukey's critical range of so many means."""
    from scipy import stats

    return float(stats.studentized_range.ppf(CONFIDENCE, count, freedom))
