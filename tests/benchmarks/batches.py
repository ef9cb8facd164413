"""What a sampler loses where trials are chosen several at once, as a pack's are.

    python -m tests.benchmarks.batches momentum adam --trials 64

Searches on a surrogate of a record, with the workers' sampler, horizons and objective.
Of trials that train together each is chosen with those before it still running, and all report on a
horizon before any is judged.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Generator
from multiprocessing import Pool
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from lrsearch.objective import Objective, Run
from tests.benchmarks.replay import Counter
from tests.benchmarks.samplers import SAMPLERS, due, shuffled
from tests.benchmarks.surrogate import spec_of

HORIZONS = (1, 6)


def search(asked: tuple[str, int, int, int]) -> float:
    """Return the best value that a search finds in so many trials, so many of them at once."""
    name, trials, size, seed = asked
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    spec = spec_of(name, trials, pruning={"kind": "horizons", "horizons": list(HORIZONS)})
    study = optuna.create_study(direction="maximize", pruner=spec.build_pruner())
    objective = Objective(spec, "cpu", lambda run: next(run, None), HORIZONS)
    sampler, names = SAMPLERS["tpe, grouped"](seed), shuffled(seed)
    for first in range(0, trials, size):
        together: list[Trained] = []
        for number in range(first, min(first + size, trials)):
            study.sampler = due(number, names, sampler)
            trained = Trained(study, study.ask(), objective)
            if trained.go_on():
                together.append(trained)
        while together:
            together = [trained for trained in together if trained.go_on()]
    return study.best_value


class Trained:
    """A trial that trains one run after the other."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
        self.study = study
        self.trial = trial
        self.steps: Generator[Run | None, Any, tuple[TrialState, float | None]]
        self.steps = objective.steps(trial, Counter())
        self.wanted: Run | None = None
        self.suggested = False

    def go_on(self) -> bool:
        """Suggest, or train until it has reported; return whether it goes on."""
        try:
            if self.wanted is None:
                self.wanted = self.steps.send(None)
            if self.suggested:
                self._train()
            self.suggested = True
        except StopIteration as end:
            state, value = end.value
            self.study.tell(self.trial, value, state)
            return False
        return True

    def _train(self) -> None:
        run = self.wanted
        assert run is not None
        epochs = iter(run.task.run(run.schedule, epochs=run.epochs, seed=0, device="cpu"))
        while self.wanted is run:
            self.wanted = self.steps.send(next(epochs, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", default=["momentum", "adam"])
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=32)
    options = parser.parse_args()
    sizes = [1, *(options.trials // part for part in (8, 4, 2, 1))]
    print(f"regret in pp after {options.trials} trials, {options.repeats} seeds, so many at once\n")
    print(f"| record | {' | '.join(map(str, sizes))} |\n|---|{'---|' * len(sizes)}")
    for name in options.names:
        asked = [
            (name, options.trials, size, seed) for size in sizes for seed in range(options.repeats)
        ]
        with Pool() as pool:
            found = np.array(pool.map(search, asked, chunksize=1)).reshape(len(sizes), -1)
        regret = 100 * (found.max() - found)
        errors = regret.std(axis=1, ddof=1) / np.sqrt(options.repeats)
        cells = [
            f"{mean:.2f} ± {error:.2f}"
            for mean, error in zip(regret.mean(axis=1), errors, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
