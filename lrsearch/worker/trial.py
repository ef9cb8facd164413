"""A trial in training: it says what it wants next, a run, a decision, or nothing more.

The one place that knows both Optuna and training: trial → schedule → runs → outcome. Who trains it
(`lrsearch.worker.trainer`) gives it what it wants:

    wants Run       → `epoch(progress)` after each epoch of it
    wants Decision  → `decide()`, once all that train beside it have reported
    wants Outcome   → it is over
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import optuna
from optuna.trial import TrialState

from lrsearch.errors import TaskError, nearest
from lrsearch.schedules import Schedule, is_degenerate
from lrsearch.storage import EpochMetrics
from lrsearch.study import Attribute, StudySpec, TrialRecord, find_duplicate
from lrsearch.tasks import Progress, Task, clock_of, load_task
from lrsearch.worker.recorder import Recorder


@dataclass(frozen=True, eq=False)
class Run:
    """A run to train: a whole schedule in so many epochs, from a state on (`None`: its start)."""

    task: Task
    schedule: Schedule
    number: int
    epochs: int
    seed: int
    state: dict[str, Any] | None


@dataclass(frozen=True)
class Decision:
    """Whether to go on after what an epoch of a run has shown."""

    run: Run
    progress: Progress


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and its value if it is complete."""

    state: TrialState
    value: float | None = None


class StudyTasks:
    """What the trials of a study train.

    Args:
        spec: what the study is.
        horizons: the epochs of each run of a trial; the last is the full run.
    """

    def __init__(self, spec: StudySpec, horizons: tuple[int, ...]) -> None:
        self.spec = spec
        self.horizons = horizons
        self._tasks: dict[str, Task] = {}
        self._space = cache(spec.search_space)

    def task(self, options: dict[str, Any]) -> Task:
        """Return the task with those options, the last one kept."""
        key = json.dumps(options, sort_keys=True)
        if key not in self._tasks:
            self._tasks = {key: load_task(self.spec.task.run, options)}
        return self._tasks[key]

    def schedule(self, trial: optuna.Trial, task: Task) -> Schedule:
        """Return a trial's schedule, given or suggested."""
        total_steps = clock_of(task).total_steps
        space = self._space(getattr(task, "base_lr", None))
        given = trial.user_attrs.get(Attribute.GIVEN)
        if given is None:
            return space.suggest(trial, total_steps)
        schedule = Schedule.from_dict(given)
        if space.params(schedule, total_steps) is not None:
            space.suggest(trial, total_steps)  # its parameters are fixed to the given ones
        return schedule


class TrialInTraining:
    """One trial, from its schedule to its outcome: whole schedules, on each horizon in turn.

    Args:
        tasks: what the study's trials train.
        trial: Optuna's, running.
        recorder: keeps what it shows and where it stands, so that it can go on from there.
    """

    wants: Run | Decision | Outcome | None
    """What it wants next; `None` where it is another worker's now."""

    def __init__(self, tasks: StudyTasks, trial: optuna.Trial, recorder: Recorder) -> None:
        self.spec = tasks.spec
        self.horizons = tasks.horizons
        self.trial = trial
        self.recorder = recorder
        self._epochs_done = 0
        self._reported: set[int] = set()
        self.task = tasks.task(self.spec.task_options(trial))
        self.schedule = tasks.schedule(trial, self.task)
        self.wants = self._begin()

    def epoch(self, progress: Progress) -> None:
        """Record an epoch of the run that it wants, and report where trials are compared."""
        run = self.wants
        assert isinstance(run, Run)
        ends = progress.epoch == run.epochs
        compares = ends or self.spec.compares_epochs
        row = self._row(run, progress)
        self._epochs_done = progress.epoch
        with self.recorder.transaction():
            self.recorder.record(row)
            if progress.diverged:
                self._mark_diverged(row)
                self.wants = Outcome(TrialState.PRUNED)
                return
            value = self._value(progress)
            if compares and progress.epoch not in self._reported:
                self.trial.report(value, progress.epoch)
        if ends and run.epochs == self.horizons[-1]:
            self.wants = Outcome(TrialState.COMPLETE, value)
        elif compares:
            self.wants = Decision(run, progress)
        else:
            self._save(run, progress)

    def end_of_run(self) -> None:
        """Hear that the run it wants has no more epochs.

        Raises:
            TaskError: always: a run has as many epochs as were asked for.
        """
        assert isinstance(self.wants, Run)
        raise TaskError(
            f"the task ended after {self._epochs_done} of {self.wants.epochs} epochs; "
            "it must yield each"
        )

    def decide(self) -> None:
        """Ask the pruner whether it goes on, and say what it wants then."""
        decision = self.wants
        assert isinstance(decision, Decision)
        run = decision.run
        if self.trial.should_prune():
            self.wants = Outcome(TrialState.PRUNED)
        elif decision.progress.epoch == run.epochs:
            self.recorder.save(run.number + 1, None)
            self.wants = self._run(run.number + 1, None)
        else:
            self._save(run, decision.progress)
            self.wants = run

    def reload(self) -> None:
        """Want its run from the last checkpoint on, since what trained it is gone."""
        run = self.wants.run if isinstance(self.wants, Decision) else self.wants
        assert isinstance(run, Run)
        number, state = self.recorder.load()
        self.wants = replace(run, state=state if number == run.number else None)

    def abandon(self) -> None:
        """Want nothing more: it is another worker's now, or has failed."""
        self.wants = None

    def _begin(self) -> Run | Outcome:
        """Say what the trial is, if it has not been said; return what it wants first."""
        if Attribute.SCHEDULE not in self.trial.user_attrs:
            with self.recorder.transaction():
                self._describe()
        attrs = self.trial.user_attrs
        if Attribute.DEGENERATE in attrs:
            self.trial.set_constraint("trains", 1.0)
            return Outcome(TrialState.PRUNED)
        if Attribute.DUPLICATE_OF in attrs:
            other = self.trial.study.get_trials(deepcopy=False)[attrs[Attribute.DUPLICATE_OF]]
            return Outcome(other.state, other.value if other.state == TrialState.COMPLETE else None)
        return self._run(*self.recorder.load())

    def _describe(self) -> None:
        """Store what is trained, and whether that is nothing new, or nothing at all."""
        clock = clock_of(self.task)
        self.trial.set_user_attr(Attribute.TOTAL_STEPS, clock.total_steps)
        self.trial.set_user_attr(Attribute.LR_EVERY, clock.lr_every)
        self.trial.set_user_attr(Attribute.SCHEDULE, self.schedule.to_dict())
        if is_degenerate(self.schedule, clock):
            self.trial.set_user_attr(Attribute.DEGENERATE, True)
        elif duplicate := find_duplicate(self.trial, self.spec, self.horizons):
            self._take_result(duplicate)

    def _take_result(self, other: TrialRecord) -> None:
        """Take what a trial with the same curve has shown."""
        for step, value in other.reports.items():
            self.trial.report(value, step)
        if other.diverged:
            self.trial.set_constraint("diverged", 1.0)
            self.trial.set_user_attr(Attribute.DIVERGED, other.diverged._asdict())
        self.trial.set_user_attr(Attribute.DUPLICATE_OF, other.number)

    def _run(self, number: int, state: dict[str, Any] | None) -> Run:
        seed = self.trial.user_attrs.get(Attribute.SEED, self.spec.study.seed)
        frozen = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        self._reported = set(frozen.intermediate_values)
        self._epochs_done = 0
        return Run(self.task, self.schedule, number, self.horizons[number], seed, state)

    def _save(self, run: Run, progress: Progress) -> None:
        if progress.capture is not None:
            self.recorder.save(run.number, progress.capture())

    def _row(self, run: Run, progress: Progress) -> EpochMetrics:
        """Return what an epoch showed; after the last of a confirmation, on the test set too."""
        step, lr = progress.place(run.schedule, run.task, run.epochs)
        metrics = progress.metrics
        confirmed = self.spec.confirm and progress.epoch == run.epochs and not progress.diverged
        if confirmed and progress.test:
            metrics = {**metrics, **progress.test()}
        return EpochMetrics(self.trial.number, run.number, progress.epoch, step, lr, metrics)

    def _value(self, progress: Progress) -> float:
        metric = self.spec.study.metric
        if metric not in progress.metrics:
            raise TaskError(
                f"the task gives no metric {metric!r}; {nearest(metric, progress.metrics)}"
            )
        return progress.metrics[metric]

    def _mark_diverged(self, row: EpochMetrics) -> None:
        """Mark the trial infeasible, so that samplers rank it last, and say where it happened."""
        self.trial.set_constraint("diverged", 1.0)
        place = {"run": row.run, "epoch": row.epoch, "step": row.step, "lr": row.lr}
        self.trial.set_user_attr(Attribute.DIVERGED, place)
