"""A task of known truth under heavy seed noise: what a search hands over is judged at once.

The best schedules lie just below the rates at which runs collapse on some seeds, a run on another
seed ends 1.3 points elsewhere, and a run in mid-air looks worse than it will be while its rate is
high. So single runs mislead a search here as they do in real training, and the mean over seeds of
every schedule is a formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lrsearch import Progress, Schedule

STEPS = 60
"""Updates in an epoch."""
CHANCE = 0.1
"""What a run that collapses comes to."""
NOISE = 0.013
"""The standard deviation of a run's value over seeds."""


class Truth(NamedTuple):
    """What a schedule does: the mean of runs that hold, and the share of seeds on which it does."""

    quality: float
    holds: float

    @property
    def mean(self) -> float:
        """The mean over all seeds."""
        return self.holds * self.quality + (1 - self.holds) * CHANCE


def truth(schedule: Schedule) -> Truth:
    """Return the truth about a schedule's full run.

    Quality is best where the mean rate is 0.1 and the last tenth of the run has a hundredth of the
    peak; runs collapse where the rate of any tenth but the first passes about 0.25 on average.
    """
    curve = np.maximum(schedule.curve(100, [1.0] * 10), 1e-6).reshape(10, 10).mean(axis=1)
    level, late = math.log10(curve.mean()), math.log10(curve[-1] / curve.max())
    quality = 0.86 - 0.05 * (level + 1.0) ** 2 - 0.008 * (late + 2.0) ** 2
    peak = math.log10(max(curve.max(), 1.5 * curve[0]))
    holds = 1 / (1 + math.exp((peak + 0.62) / 0.045))
    return Truth(max(CHANCE, quality), holds)


class Synthetic:
    """The task: a run yields noisy values that come to the schedule's truth for its seed."""

    epochs = 6
    steps_per_epoch = STEPS
    metric_names = ("val_accuracy",)

    def run(
        self, schedule: Schedule, *, epochs: int, seed: int, device: str, state: Any = None
    ) -> Iterator[Progress]:
        yield from (
            Progress(epoch, {"val_accuracy": value})
            for epoch, value in enumerate(values(schedule, epochs, seed), 1)
        )


def values(schedule: Schedule, epochs: int, seed: int) -> list[float]:
    """Return the values of a run after each of its epochs."""
    key = repr(schedule.to_dict()).encode()
    draws = np.random.default_rng([seed, epochs, *np.frombuffer(key, np.uint8).astype(int)])
    found = truth(schedule)
    if draws.uniform() > found.holds:
        return [CHANCE] * epochs
    end = found.quality - 0.03 * (Synthetic.epochs / epochs - 1) / 5 + draws.normal(0, NOISE)
    curve = np.maximum(schedule.curve(epochs * 10, [1.0] * epochs), 1e-6)
    high = np.log10(curve.reshape(epochs, 10)[:, -1] / curve.max()) + 2
    return [
        max(
            CHANCE,
            end - 0.04 * max(0.0, float(high[e])) * (e + 1 < epochs) - 0.02 * (epochs - e - 1),
        )
        for e in range(epochs)
    ]
