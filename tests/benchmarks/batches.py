"""What a sampler loses where trials are chosen several at once, as a pack's are.

    python -m tests.benchmarks.batches momentum adam --trials 64

Searches on a surrogate of a record, with the workers' sampler, horizons and trials.
Of trials that train together each is chosen with those before it still running, and all report on a
horizon before any is judged.
"""

from __future__ import annotations

import argparse
import warnings
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np
import optuna

from lrsearch.worker import Outcome, StudyTasks, TrialInTraining
from lrsearch.worker.trial import Decision
from tests.benchmarks.samplers import SAMPLERS, due, shuffled
from tests.benchmarks.surrogate import spec_of
from tests.in_process import CountingRecorder, pruner_of, train_until_decision

HORIZONS = (1, 6)


class BatchConfig(NamedTuple):
    """What is searched: a record, in how many trials, so many at once, from which seed."""

    record: str
    trials: int
    size: int
    seed: int


def search(config: BatchConfig) -> float:
    """Return the best value that a search finds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    pruning = {"kind": "horizons", "horizons": list(HORIZONS)}
    spec = spec_of(config.record, config.trials, pruning=pruning)
    study = optuna.create_study(direction="maximize", pruner=pruner_of(spec))
    tasks = StudyTasks(spec, spec.rungs(HORIZONS))
    sampler, names = SAMPLERS["tpe, grouped"](config.seed), shuffled(config.seed)
    for first in range(0, config.trials, config.size):
        batch = []
        for number in range(first, min(first + config.size, config.trials)):
            study.sampler = due(number, names, sampler)
            batch.append(TrialInTraining(tasks, study.ask(), CountingRecorder()))
        while batch := [training for training in batch if not _ended(study, training)]:
            for training in batch:
                train_until_decision(training)
            for training in batch:
                if isinstance(training.wants, Decision):
                    training.decide()
    return study.best_value


def _ended(study: optuna.Study, training: TrialInTraining) -> bool:
    """Tell Optuna of a trial that is over; return whether it is."""
    if not isinstance(training.wants, Outcome):
        return False
    study.tell(training.trial, training.wants.value, training.wants.state)
    return True


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
        configs = [
            BatchConfig(name, options.trials, size, seed)
            for size in sizes
            for seed in range(options.repeats)
        ]
        with Pool() as pool:
            best = np.array(pool.map(search, configs, chunksize=1)).reshape(len(sizes), -1)
        regret = 100 * (best.max() - best)
        errors = regret.std(axis=1, ddof=1) / np.sqrt(options.repeats)
        cells = [
            f"{mean:.2f} ± {error:.2f}"
            for mean, error in zip(regret.mean(axis=1), errors, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
