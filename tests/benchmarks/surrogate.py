"""Predicts what any schedule comes to from a record of real learning curves.

A schedule is judged by the recorded ones whose learning-rate curves are nearest (the mean log rate
of eight parts of the run; the three nearest, weighted by their distance), on each horizon.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from lrsearch.schedules import Schedule
from lrsearch.study import StudySpec
from lrsearch.tasks import Progress
from tests.benchmarks.replay import Record, read

PARTS, NEIGHBOURS, STEPS = 8, 3, 160


class Surrogate:
    """Predicts what a schedule comes to on each horizon from a record."""

    def __init__(self, record: Record) -> None:
        self.record = record

    @cached_property
    def trials(self) -> list[int]:
        """Those that read no losses and diverged nowhere: what diverges is left to chance."""
        return [
            trial
            for trial, schedule in self.record.schedules.items()
            if not schedule.family.reads_losses and self.record.means[trial] > 0
        ]

    @cached_property
    def points(self) -> np.ndarray:
        return np.array([features(self.record.schedules[trial]) for trial in self.trials])

    @cache  # noqa: B019 (there is one for each record)
    def curves(self, horizon: int) -> np.ndarray:
        """Values after each epoch; at the end of the full run the mean over seeds."""
        curves = np.array([self.record.curves[trial, 0, horizon] for trial in self.trials])
        if horizon == self.record.epochs:
            curves[:, -1] = [self.record.means[trial] for trial in self.trials]
        return curves

    def predict(self, point: np.ndarray, horizon: int, without: int | None = None) -> np.ndarray:
        """Return the value after each epoch, float64[horizon]."""
        distance = np.sqrt(((self.points - point) ** 2).mean(axis=1))
        if without is not None:
            distance[without] = np.inf
        nearest = distance.argsort()[:NEIGHBOURS]
        weights = 1 / (distance[nearest] + 1e-3)
        mean: np.ndarray = np.average(self.curves(horizon)[nearest], axis=0, weights=weights)
        return mean

    def check(self, horizon: int) -> tuple[float, float]:
        """Return the rank correlation and the median error of schedules that were left out."""
        predicted = [self.predict(p, horizon, without=i)[-1] for i, p in enumerate(self.points)]
        true = self.curves(horizon)[:, -1]
        error = np.median(np.abs(predicted - true))
        return float(spearmanr(predicted, true).statistic), float(error)


def features(schedule: Schedule) -> np.ndarray:
    """Return the mean log10 rate of each part of the run, float64[PARTS]."""
    lr = np.maximum(schedule.curve(STEPS, [1.0] * 6), 1e-5)
    return np.log10(lr).reshape(PARTS, -1).mean(axis=1)


@cache
def surrogate(name: str) -> Surrogate:
    return Surrogate(read(name))


class Predicted:
    """The task of a surrogate."""

    epochs = 6
    steps_per_epoch = 100

    def __init__(self, record: str) -> None:
        self.surrogate = surrogate(record)

    def run(
        self, schedule: Schedule, *, epochs: int, seed: int, device: str, state: Any = None
    ) -> Iterator[Progress]:
        for epoch, value in enumerate(self.surrogate.predict(features(schedule), epochs), 1):
            yield Progress(epoch, {"val_accuracy": float(value)})


def spec_of(name: str, trials: int, seed: int = 0, **sections: Any) -> StudySpec:
    """Return a search in the surrogate of a record."""
    spec = StudySpec.from_dict(
        {
            "study": {"name": name, "trials": trials, "seed": seed},
            "task": {"run": f"{__name__}:Predicted", "record": name},
            "space": {"base_lr": {"low": 2e-3, "high": 0.6, "log": True}},
            **sections,
        }
    )
    if name == "adam":
        spec.space["base_lr"] |= {"low": 3e-5, "high": 1.6e-2}
    return spec
