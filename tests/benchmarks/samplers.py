"""Compare samplers on a surrogate of a record: which finds better schedules in as many trials?

    python -m tests.benchmarks.samplers momentum

How well the surrogate predicts a schedule that was left out is printed first. Samplers are
Optuna's own, with the trials of the workers and the horizons of the study files.

"per family": each family has a `base_lr` of its own in the space. "in turn": the first two trials
of each family are due to it. Hierarchical TPE lives on OptunaHub, which loads it over the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from multiprocessing import Pool
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from lrsearch.schedules import Schedule, families
from lrsearch.search import SearchSpace
from lrsearch.tasks import Task, clock_of
from lrsearch.worker import StudyTasks
from tests.benchmarks.surrogate import spec_of, surrogate
from tests.in_process import CountingRecorder, pruner_of, train_trial

DUE = 2
"""Trials of each family that are due to it where families come in turn."""


class PerFamily(SearchSpace):
    """The space with a `base_lr` for each family."""

    def suggest(self, trial: Any, total_steps: int) -> Schedule:
        return super().suggest(_Renaming(trial), total_steps)


class PerFamilyTasks(StudyTasks):
    """What trials train whose schedules come from that space."""

    def schedule(self, trial: optuna.Trial, task: Task) -> Schedule:
        space = self.spec.search_space()
        return PerFamily(space.families, space.domains).suggest(trial, clock_of(task).total_steps)


class _Renaming:
    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.family = ""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = self.trial.suggest_categorical(name, choices)
        if name == "schedule":
            self.family = value
        return value

    def suggest_float(self, name: str, *args: Any, **options: Any) -> float:
        name = f"{self.family}.base_lr" if name == "base_lr" else name
        return float(self.trial.suggest_float(name, *args, **options))

    def suggest_int(self, name: str, *args: Any, **options: Any) -> int:
        return int(self.trial.suggest_int(name, *args, **options))


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "quasi-random": lambda seed: QMCSampler(seed=seed, warn_independent_sampling=False),
    "tpe": lambda seed: TPESampler(seed=seed),
    "tpe, grouped": lambda seed: TPESampler(seed=seed, multivariate=True, group=True),
    "tpe, univariate": lambda seed: TPESampler(seed=seed, multivariate=False),
}
VARIANTS = [
    (sampler, per_family, in_turn)
    for sampler in SAMPLERS
    for per_family in (False, True)
    for in_turn in (False, True)
]


def shuffled(seed: int) -> list[str]:
    """Return the families in the order in which trials are due to them."""
    return [str(name) for name in np.random.default_rng(seed).permutation(list(families))]


def due(number: int, names: list[str], base: BaseSampler) -> BaseSampler:
    """Return what samples a trial where the first are due to the families in turn."""
    if number >= DUE * len(names):
        return base
    return PartialFixedSampler({"schedule": names[number % len(names)]}, base)


def search(name: str, variant: tuple[str, bool, bool], trials: int, seed: int) -> list[float]:
    """Return the best value so far after each trial."""
    sampler, per_family, in_turn = variant
    spec = spec_of(name, trials, pruning={"kind": "horizons", "horizons": [1, 2, 6]})
    study = optuna.create_study(direction="maximize", pruner=pruner_of(spec))
    study.sampler = base = SAMPLERS[sampler](seed)
    tasks = (PerFamilyTasks if per_family else StudyTasks)(spec, (1, 2, 6))
    names = shuffled(seed)
    best: list[float] = []
    for number in range(trials):
        study.sampler = due(number, names, base) if in_turn else base
        trial = study.ask()
        outcome = train_trial(tasks, trial, CountingRecorder())
        study.tell(trial, outcome.value, outcome.state)
        complete = outcome.state == TrialState.COMPLETE and outcome.value is not None
        best.append(max([outcome.value if complete else 0.0, *best[-1:]]))
    return best


def _one(task: tuple[str, tuple[str, bool, bool], int, int]) -> list[float]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    import warnings

    warnings.simplefilter("ignore")
    return search(*task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", default=["momentum"])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    marks = [options.trials // 3, 2 * options.trials // 3, options.trials]
    for name in options.names:
        made = surrogate(name)
        for horizon in (1, 2, 6):
            rank, error = made.check(horizon)
            print(f"{name}, horizon {horizon}: rank correlation {rank:.2f}, error {error:.4f}")
        with Pool() as pool:
            tasks = [
                (name, variant, options.trials, seed)
                for variant in VARIANTS
                for seed in range(options.repeats)
            ]
            best = np.array(pool.map(_one, tasks, chunksize=4))
        best = best.reshape(len(VARIANTS), options.repeats, options.trials)
        top = best.max()
        print(f"\n**{name}**: regret in pp after so many trials, {options.repeats} seeds\n")
        print(f"| sampler | base_lr | families | {' | '.join(map(str, marks))} |")
        print("|---|---|---|" + "---|" * len(marks))
        for (sampler, per_family, in_turn), curves in zip(VARIANTS, best, strict=True):
            cells = [sampler, "per family" if per_family else "shared"]
            cells.append("in turn" if in_turn else "free")
            for mark in marks:
                regret = 100 * (top - curves[:, mark - 1])
                error = regret.std(ddof=1) / np.sqrt(len(regret))
                cells.append(f"{regret.mean():.2f} ± {error:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
