"""What a trial costs beyond training, with more and more finished trials in the storage.

    python -m tests.benchmarks.trial_cost

A worker takes trials of a task that trains nothing: claim, suggest (store the schedule, look for a
duplicate), ten epochs recorded, reported and compared with the others, finish. Milliseconds of
CPU, the median over some trials and the highest; the first trial of a worker reads what is there,
and stands alone. The last column is the share of a trial of the quick study, whose length is a
parameter.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import optuna

from lrsearch.schedules import Schedule
from lrsearch.storage import Lease, TrialQueue, open_storage
from lrsearch.study import HORIZONS, SPEC, StudySpec, open_study
from lrsearch.tasks import Progress
from lrsearch.worker import Trainer
from tests.in_process import make_trainer
from tests.reporting.synthetic import synthetic_study

MARKS: list[float] = []
"""When the task began, and when each epoch was over and done with."""


class Instant:
    """A task whose epochs take no time."""

    epochs = 10
    steps_per_epoch = 60

    def run(
        self, schedule: Schedule, *, epochs: int, seed: int, device: str, state: Any = None
    ) -> Iterator[Progress]:
        MARKS[:] = [time.process_time()]
        for epoch in range(1, epochs + 1):
            metrics = {"train_loss": 0.5, "val_loss": 0.6, "val_accuracy": 0.99, "grad_norm": 1.0}
            yield Progress(epoch, metrics)
            MARKS.append(time.process_time())


def measure(trials: int, count: int, sampler: str) -> list[dict[str, float]]:
    """Return the milliseconds of each part, for some trials after so many finished ones."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        made = synthetic_study(url, trials)
        changed = {
            "task": {"run": f"{__name__}:Instant"},
            "sampler": {"kind": sampler},
            "pruning": {"kind": "rungs", "seeds": 1},  # or the best would begin its next seed
        }
        spec = StudySpec.from_dict(made.spec.to_dict() | changed)
        made.optuna.set_user_attr(SPEC, spec.to_dict())
        made.optuna.set_user_attr(HORIZONS, [Instant.epochs])
        made.set_target(trials + count)
        storage = open_storage(url)
        study = open_study(storage)
        queue = TrialQueue(storage, study.study_id, "cpu", 60.0, max_failures=3)
        trainer = make_trainer(study, queue)
        return [_one(queue, trainer) for _ in range(count)]


def _one(queue: TrialQueue, trainer: Trainer) -> dict[str, float]:
    began = time.process_time()
    lease = queue.claim()
    claimed = time.process_time()
    assert isinstance(lease, Lease)
    trainer.train([lease])
    ended = time.process_time()
    # the trainer asks for no more after the last epoch, so that its report counts as the finish
    points = {
        "claim": claimed - began,
        "suggest": MARKS[0] - claimed,
        "report ×10": MARKS[-1] - MARKS[0],
        "finish": ended - MARKS[-1],
        "all": ended - began,
    }
    return {name: 1e3 * seconds for name, seconds in points.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--trial-seconds", type=float, default=4.0, help="of the quick study")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    parts = ("claim", "suggest", "report ×10", "finish", "all")
    print(f"| sampler | finished | {' | '.join(parts)} | first trial | of a trial |")
    print("|---|" + "---|" * (len(parts) + 3))
    for sampler in ("random", "tpe"):
        for finished in options.finished:
            first, *others = measure(finished, options.trials, sampler)
            times = {part: [each[part] for each in others] for part in parts}
            cells = [f"{median(values):.0f} ({max(values):.0f})" for values in times.values()]
            share = median(times["all"]) / 1e3 / options.trial_seconds
            row = [sampler, f"{finished:,}", *cells, f"{first['all']:.0f}", f"{share:.1%}"]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
