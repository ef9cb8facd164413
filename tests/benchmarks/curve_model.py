"""A Gaussian process that sees learning-rate curves instead of parameters.

All families inform each other in it, and neighbouring curves tell of each other's seeds. So it can
choose what to try (by expected improvement) and say what is best (by its mean less its
uncertainty); `tests.benchmarks.synthetic` compares both with what lrsearch does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import RandomSampler
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from lrsearch import Schedule, SearchSpace

POINTS = 60
CANDIDATES = 400
REFITS = 5
"""The kernel is fitted anew after so many runs; in between only the data grow."""
DEPTH = 3.0
"""A run that collapses counts as so many times the distance from the median to the 90 % quantile
below the median, or its value would be all that the process explains."""


class Ran(NamedTuple):
    """A run: its schedule, its epochs as a share of the full run's, and what it came to."""

    schedule: Schedule
    length: float
    value: float


def features(schedule: Schedule, length: float) -> NDArray[np.float64]:
    """Return what the process sees of a run: decimal logarithms of rates, and of its length.

    The mean rate, the peak, the mean of the first fifth, the middle third and the last fifth, and
    the end.
    """
    curve = np.maximum(schedule.curve(POINTS, [1.0] * 10), 1e-6)
    fifth, third = POINTS // 5, POINTS // 3
    rates = [curve.mean(), curve.max(), curve[:fifth].mean(), curve[third : 2 * third].mean()]
    rates += [curve[-fifth:].mean(), curve[-POINTS // 20 :].mean()]
    return np.log10([*rates, length**2])


class CurveModel:
    """What runs of any schedule come to."""

    def __init__(self) -> None:
        self._theta: NDArray[np.float64] | None = None
        self._fits = 0

    def fit(self, runs: Sequence[Ran]) -> None:
        """Learn from runs."""
        values = np.array([run.value for run in runs])
        middle = np.median(values)
        values = np.maximum(values, middle - DEPTH * max(np.quantile(values, 0.9) - middle, 1e-3))
        self._mean, self._scale = values.mean(), values.std() + 1e-9
        seen = np.array([features(run.schedule, run.length) for run in runs])
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(
            np.ones(seen.shape[1]), (0.1, 30.0), nu=2.5
        ) + WhiteKernel(0.1, (1e-3, 1.0))
        if self._theta is not None:
            kernel = kernel.clone_with_theta(self._theta)
        optimizer = None if self._fits % REFITS else "fmin_l_bfgs_b"
        self._process = GaussianProcessRegressor(kernel, optimizer=optimizer)
        self._process.fit(seen, (values - self._mean) / self._scale)
        self._theta = self._process.kernel_.theta
        self._fits += 1

    def predict(self, schedules: Sequence[Schedule]) -> tuple[NDArray[np.float64], ...]:
        """Return the means of full runs over all seeds, and how uncertain those means are."""
        seen = np.array([features(schedule, 1.0) for schedule in schedules])
        mean, deviation = self._process.predict(seen, return_std=True)
        noise = self._process.kernel_.k2.noise_level
        error = np.sqrt(np.maximum(deviation**2 - noise, 1e-12))
        return mean * self._scale + self._mean, error * self._scale

    def choose(
        self, space: SearchSpace, total_steps: int, tried: Sequence[Schedule], seed: int
    ) -> dict[str, object]:
        """Return the parameters of the candidate with the largest expected improvement."""
        study = optuna.create_study(sampler=RandomSampler(seed=seed))
        trials = [study.ask() for _ in range(CANDIDATES)]
        mean, error = self.predict([space.suggest(trial, total_steps) for trial in trials])
        z = (mean - self.predict(tried)[0].max()) / error
        improvement = error * (z * norm.cdf(z) + norm.pdf(z))
        return trials[int(np.argmax(improvement))].params

    def best(self, schedules: Sequence[Schedule]) -> tuple[int, float]:
        """Return which schedule is best for sure, and what it is expected to come to."""
        mean, error = self.predict(schedules)
        best = int(np.argmax(mean - error))
        assert math.isfinite(mean[best])
        return best, float(mean[best])
