"""Training in the tests' own process, as a worker does, with what a test wants in its place."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.pruners import BasePruner

from lrsearch.search import HorizonsPruner
from lrsearch.storage import EpochMetrics, Lease, TrialQueue
from lrsearch.study import Study, StudySpec
from lrsearch.study.sections import HorizonsPruning
from lrsearch.tasks import Progress
from lrsearch.worker import Grouping, Outcome, Run, StudyTasks, Trainer, TrialInTraining
from lrsearch.worker.recorder import Recorder
from lrsearch.worker.trial import Decision


def make_trainer(
    study: Study,
    queue: TrialQueue | None = None,
    *,
    next_progress: Callable[..., Any] = lambda rounds: next(rounds, None),
    check: Callable[[], None] = lambda: None,
    grouping: Grouping | None = None,
    on_end: Callable[[Lease, bool], None] | None = None,
) -> Trainer:
    """Return what trains a study's trials here; leases end in `queue` unless `on_end` is given."""

    def end(lease: Lease, failed: bool) -> None:
        if queue:
            queue.end(lease, failed=failed)

    return Trainer(
        study,
        StudyTasks(study.spec, study.rungs),
        "cpu",
        grouping or Grouping(),
        next_progress=next_progress,
        check=check,
        on_pause=queue.pause if queue else lambda lease: None,
        on_end=on_end or end,
    )


class CountingRecorder:
    """A recorder that keeps epochs in memory; its trial cannot go on after a break."""

    def __init__(self) -> None:
        self._rows: list[EpochMetrics] = []

    @property
    def epochs(self) -> int:
        return len(self._rows)

    def load(self) -> tuple[int, None]:
        return 0, None

    def save(self, run: int, epoch: int, state: Any) -> None:
        pass

    def record(self, row: EpochMetrics) -> None:
        self._rows.append(row)

    def rows(self) -> list[EpochMetrics]:
        return self._rows

    def transaction(self) -> AbstractContextManager[object]:
        return nullcontext()


def train_trial(tasks: StudyTasks, trial: optuna.Trial, recorder: Recorder) -> Outcome:
    """Train one of Optuna's trials to its end, without a storage of ours."""
    training = TrialInTraining(tasks, trial, recorder)
    while isinstance(run := training.wants, Run):
        for progress in _epochs(run):
            training.epoch(progress)
            if isinstance(training.wants, Decision):
                training.decide()
            if training.wants is not run:
                break
        else:
            training.end_of_run()
    assert isinstance(training.wants, Outcome)
    return training.wants


def train_until_decision(training: TrialInTraining) -> None:
    """Train the run that a trial wants until it wants a decision or is over.

    A trial that is compared after each epoch would begin its run again after the decision.
    """
    run = training.wants
    assert isinstance(run, Run)
    for progress in _epochs(run):
        training.epoch(progress)
        if training.wants is not run:
            return
    training.end_of_run()


def _epochs(run: Run) -> Iterable[Progress]:
    return run.task.run(
        run.schedule, epochs=run.epochs, seed=run.seed, device="cpu", state=run.state
    )


def pruner_of(spec: StudySpec) -> BasePruner:
    """Return Optuna's pruner for a spec; of horizons the one that decides at once."""
    if isinstance(spec.pruning, HorizonsPruning):
        return HorizonsPruner(spec.pruning.reduction_factor)
    return spec.build_pruner()
