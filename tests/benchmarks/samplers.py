"""Compare samplers on a surrogate of a record: which finds better schedules in as many trials?

    python -m tests.benchmarks.samplers momentum

How well the surrogate foretells a schedule that was left out is printed first. Samplers are
Optuna's own, in the objective of the workers, with the horizons of the study files.

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

from lrsearch.objective import Objective
from lrsearch.schedules import Schedule, families
from lrsearch.space import SearchSpace
from tests.benchmarks.replay import Counter
from tests.benchmarks.surrogate import spec_of, surrogate

DUE = 2
"""Trials of each family that are due to it where families come in turn."""


class PerFamily(SearchSpace):
    """The space with a `base_lr` for each family."""

    def suggest(self, trial: Any, total_steps: int) -> Schedule:
        return super().suggest(_Renaming(trial), total_steps)


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
    study = optuna.create_study(direction="maximize", pruner=spec.build_pruner())
    study.sampler = base = SAMPLERS[sampler](seed)
    objective = Objective(spec, "cpu", lambda run: next(run, None), (1, 2, 6))
    if per_family:
        space = spec.search_space()
        objective._space = lambda _: PerFamily(space.families, space.domains)
    names = shuffled(seed)
    best: list[float] = []
    for number in range(trials):
        study.sampler = due(number, names, base) if in_turn else base
        trial = study.ask()
        state, value = objective(trial, Counter())
        study.tell(trial, value, state)
        found = value if state == TrialState.COMPLETE and value is not None else 0.0
        best.append(max([found, *best[-1:]]))
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
            found = np.array(pool.map(_one, tasks, chunksize=4))
        found = found.reshape(len(VARIANTS), options.repeats, options.trials)
        top = found.max()
        print(f"\n**{name}**: regret in pp after so many trials, {options.repeats} seeds\n")
        print(f"| sampler | base_lr | families | {' | '.join(map(str, marks))} |")
        print("|---|---|---|" + "---|" * len(marks))
        for (sampler, per_family, in_turn), curves in zip(VARIANTS, found, strict=True):
            cells = [sampler, "per family" if per_family else "shared"]
            cells.append("in turn" if in_turn else "as they come")
            for mark in marks:
                regret = 100 * (top - curves[:, mark - 1])
                error = regret.std(ddof=1) / np.sqrt(len(regret))
                cells.append(f"{regret.mean():.2f} ± {error:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
