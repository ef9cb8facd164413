"""A task of known truth under heavy seed noise: what a search hands over is judged at once.

    python -m tests.benchmarks.synthetic --epochs 160 --repeats 20

The best schedules lie just below the rates at which runs collapse on some seeds, a run on another
seed ends 1.3 points elsewhere, and a run in mid-air looks worse than it will be while its rate is
high. So single runs mislead a search here as they do in real training, and the mean over seeds of
every schedule is a formula.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import Pool
from statistics import fmean
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from lrsearch import Progress, Schedule, SearchSpace
from lrsearch.search import (
    Climb,
    Rung,
    SeededSampler,
    SeedModel,
    Standing,
    build_sampler,
    rungs_of,
    seen_by_samplers,
)
from lrsearch.search.checks import Shown, holds
from tests.benchmarks.curve_model import CurveModel, Ran

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
    left = np.arange(epochs)[::-1]
    mid_air = 0.04 * np.maximum(0.0, high) * (left > 0) + 0.02 * left
    return [float(value) for value in np.maximum(CHANCE, end - mid_air)]


class Found(NamedTuple):
    """What a search hands over: the schedule, and the value that it states."""

    schedule: Schedule
    told: float


SPACE = SearchSpace.read(None, {"base_lr": {"low": 2e-3, "high": 1.0, "log": True}})
FULL = Synthetic.epochs
MAX_SEEDS = 10
BEFORE_MODEL = 16
"""Trials after which a model of curves may choose."""


def ours(
    seed: int,
    epochs: int,
    sampler: str = "tpe",
    *,
    model_chooses: bool = False,
    model_says: bool = False,
    **options: Any,
) -> Found:
    """Search by rungs, as workers do, with nothing stored: in any Optuna script it is the same.

    A model of curves may choose what is tried, after the first trials, or say what is best.
    """
    model = CurveModel()
    rungs = rungs_of([1, FULL], MAX_SEEDS)
    climb = Climb(rungs, reduction_factor=4)
    study = optuna.create_study(direction="maximize")
    build = partial(build_sampler, sampler, options)
    trials: list[optuna.Trial] = []
    schedules: list[Schedule] = []
    values_of: list[list[float | None]] = []
    full_runs: defaultdict[int, list[list[Shown]]] = defaultdict(list)
    spent = 0
    while True:
        standings = [
            Standing(number, tuple(found), "waiting") for number, found in enumerate(values_of)
        ]
        step = climb.step(standings, may_begin=True, epochs_left=epochs - spent)
        if step is None or step.rung is None:
            break
        if step.number is None:
            if model_chooses and len(trials) >= BEFORE_MODEL:
                model.fit(_runs(schedules, values_of, rungs))
                entropy = 10_000 * seed + len(trials)
                study.enqueue_trial(model.choose(SPACE, FULL * STEPS, schedules, entropy))
            study.sampler = SeededSampler(
                build, seed=seed, number=len(trials), seen=seen_by_samplers(rungs)
            )
            trials.append(study.ask())
            schedules.append(SPACE.suggest(trials[-1], FULL * STEPS))
            values_of.append([])
        number = len(trials) - 1 if step.number is None else step.number
        rung = rungs[step.rung]
        course = _course(schedules[number], rung.epochs, 100 * seed + rung.seed)
        stops = _stops(course, full_runs[number]) if rung.check else None
        if stops is None and rung.full:
            full_runs[number].append(course)
        trials[number].report(math.nan if stops else course[-1].value, rung.step)
        values_of[number].append(None if stops else course[-1].value)
        spent += stops or rung.epochs
    if model_says:
        model.fit(_runs(schedules, values_of, rungs))
        known = [s for s, v in zip(schedules, values_of, strict=True) if len(v) > climb.first_full]
        index, told = model.best(known or schedules)
        return Found((known or schedules)[index], told)
    best = max(
        range(len(trials)), key=lambda n: climb.mean(Standing(n, tuple(values_of[n]), "waiting"))
    )
    full = [_in_full(found, climb) for found in values_of if len(found) > climb.first_full]
    own = _in_full(values_of[best], climb)
    estimate = SeedModel(full).estimate(own)
    return Found(schedules[best], estimate.value if estimate else fmean(own))


def _course(schedule: Schedule, epochs: int, seed: int) -> list[Shown]:
    """Return what a run shows after each epoch."""
    rates = schedule.curve(epochs * STEPS, [1.0] * epochs)[STEPS - 1 :: STEPS]
    return [Shown(*shown) for shown in zip(values(schedule, epochs, seed), rates, strict=True)]


def _stops(course: list[Shown], others: list[list[Shown]]) -> int | None:
    """Return after how many epochs a check stops; `None` if it goes on to its end."""
    seen = (n for n, s in enumerate(course[:-1], 1) if holds(n, s.value, others, maximize=True))
    return next(seen, None)


def _in_full(found: list[float | None], climb: Climb) -> list[float]:
    return [value for value in found[climb.first_full :] if value is not None]


def seeing_all(seed: int, epochs: int) -> Found:
    """Search likewise with a sampler that learns from all trials, however many there are."""
    with patch("lrsearch.search.seeded.MAX_SEEN", sys.maxsize):
        return ours(seed, epochs)


def _runs(
    schedules: list[Schedule], values_of: list[list[float | None]], rungs: Sequence[Rung]
) -> list[Ran]:
    return [
        Ran(schedule, rung.epochs / FULL, value)
        for schedule, found in zip(schedules, values_of, strict=True)
        for rung, value in zip(rungs, found, strict=False)
        if value is not None
    ]


def optunas_defaults(seed: int, epochs: int) -> Found:
    """Search by `optuna.create_study()`: TPE, the median pruner, the best value."""
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    schedules: dict[int, Schedule] = {}
    spent = 0
    while spent < epochs:
        trial = study.ask()
        schedules[trial.number] = SPACE.suggest(trial, FULL * STEPS)
        for epoch, value in enumerate(values(schedules[trial.number], FULL, 100 * seed), 1):
            trial.report(value, epoch)
            spent += 1
            if epoch < FULL and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
    return Found(schedules[study.best_trial.number], study.best_value)


ARMS: dict[str, Callable[[int, int], Found]] = {
    "Optuna's defaults": optunas_defaults,
    "lrsearch": ours,
    "lrsearch, TPE of all trials": seeing_all,
    "lrsearch, random": partial(ours, sampler="random"),
    "lrsearch, TPE grouped": partial(ours, multivariate=True, group=True),
    "lrsearch, a model of curves says what is best": partial(ours, model_says=True),
    "lrsearch, a model of curves chooses": partial(ours, model_chooses=True),
}


def _one(task: tuple[str, int, int]) -> tuple[float, float, float]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    arm, seed, epochs = task
    found = ARMS[arm](seed, epochs)
    true = truth(found.schedule)
    return true.mean, found.told, true.holds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--epochs", type=int, nargs="+", default=[40, 80, 160])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    options = parser.parse_args()
    print("| search | epochs | true mean | stated | collapses on 1 seed in 20 or more |")
    print("|---|---|---|---|---|")
    with Pool() as pool:
        for arm in options.arms:
            for epochs in options.epochs:
                tasks = [(arm, seed, epochs) for seed in range(options.repeats)]
                found = np.array(pool.map(_one, tasks, chunksize=1))
                error = found[:, 0].std(ddof=1) / math.sqrt(options.repeats)
                print(
                    f"| {arm} | {epochs} | {found[:, 0].mean():.4f} ± {error:.4f} | "
                    f"{found[:, 1].mean():.4f} | {(found[:, 2] < 0.95).mean():.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
