"""A trial in training: it says what it wants next, a run, a decision, or nothing more.

The one place that knows both Optuna and training: trial → schedule → runs → outcome. Who trains it
(`lrsearch.worker.trainer`) gives it what it wants:

    wants Run       → `epoch(progress)` after each epoch of it
    wants Decision  → `decide()`, once all that train beside it have reported
    wants Pause     → it waits, until the queue gives it out again
    wants Outcome   → it is over
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from lrsearch.errors import StudyError, TaskError, nearest
from lrsearch.schedules import Schedule, is_degenerate
from lrsearch.search import Shown, holds
from lrsearch.storage import END, EpochMetrics
from lrsearch.study import (
    Attribute,
    Constraint,
    TrialRecord,
    as_record,
    find_duplicate,
    read_schedule,
)
from lrsearch.tasks import Progress, Task, clock_of
from lrsearch.worker.recorder import Recorder
from lrsearch.worker.study_tasks import DAMAGED, StudyTasks, as_stored


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
class Pause:
    """To wait: it has trained a rung, and others decide whether it goes on."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and its value if it is complete."""

    state: TrialState
    value: float | None = None


class TrialInTraining:
    """One trial, from its schedule to its outcome: whole schedules, on each horizon in turn.

    Args:
        tasks: what the study's trials train.
        trial: Optuna's, running.
        recorder: keeps what it shows and where it stands, so that it can go on from there.
        rung: where trials climb, the index of the rung to train, or `END`; else it trains all runs.
    """

    wants: Run | Decision | Pause | Outcome | None
    """What it wants next; `None` where it is another worker's now."""

    def __init__(
        self,
        tasks: StudyTasks,
        trial: optuna.Trial,
        recorder: Recorder,
        rung: int | None = None,
    ) -> None:
        self.spec = tasks.spec
        self.rungs = tasks.rungs
        self.rung = rung
        self.trial = trial
        self.recorder = recorder
        self._epochs_done = 0
        self._reported: set[int] = set()
        self._others: list[list[Shown]] = []
        self.task = tasks.task(as_stored(self.spec.task_options, trial))
        self.schedule = self._settled(tasks.schedule(trial, self.task))
        self.wants = self._begin()

    def epoch(self, progress: Progress) -> EpochMetrics:
        """Record an epoch of the run that it wants, and report where trials are compared.

        Returns:
            What was recorded.
        """
        run = self.wants
        assert isinstance(run, Run)
        row = self._row(run, progress)
        ends = progress.epoch == run.epochs
        bad = progress.diverged or progress.learned is False
        stops = self.rungs[run.number].check and not (ends or bad) and self._holds(progress)
        compares = ends or stops or self.spec.compares_epochs
        self._epochs_done = progress.epoch
        failed = ends and progress.learned is False
        with self.recorder.transaction():
            self.recorder.record(row)
            if progress.schedule is not None:
                self._keep_schedule(progress.schedule)
            if progress.diverged:
                self._mark_diverged(row)
                self.wants = Outcome(TrialState.PRUNED)
                return row
            value = math.nan if stops else self._value(progress)
            step = self.rungs[run.number].step if ends or stops else progress.epoch
            if compares and step not in self._reported:
                self.trial.report(value, step)
            if failed or (ends and self.trial.user_attrs.get(Attribute.FAILED_TO_TRAIN)):
                self.trial.set_user_attr(Attribute.FAILED_TO_TRAIN, failed)
            if ends and run.number == 0 and progress.baseline is not None:
                self.trial.set_user_attr(Attribute.BASELINE, progress.baseline)
        if failed and self.rungs[run.number].full:
            self.wants = self._prune()
        elif stops or (ends and self.rung is not None):
            self.wants = Pause()
        elif ends and run.number == len(self.rungs) - 1:
            self.wants = Outcome(TrialState.COMPLETE, value)
        elif compares:
            self.wants = Decision(run, progress)
        else:
            self._save(run, progress)
        return row

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
            self.wants = self._prune()
        elif decision.progress.epoch == run.epochs:
            self.recorder.save(run.number + 1, 0, None)
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

    def start_over(self) -> bool:
        """Want its run from the start, if nothing came of its state; return whether it does."""
        run = self.wants
        if not isinstance(run, Run) or run.state is None or self._epochs_done:
            return False
        self.wants = replace(run, state=None)
        return True

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
            self.trial.set_constraint(Constraint.FAILED_TO_TRAIN, 1.0)
            return Outcome(TrialState.PRUNED)
        if Attribute.DUPLICATE_OF in attrs:
            if self.rung is not None:
                return self._prune()  # the other may yet go on
            other = self.trial.study.get_trials(deepcopy=False)[attrs[Attribute.DUPLICATE_OF]]
            if other.state == TrialState.COMPLETE:
                return Outcome(TrialState.COMPLETE, other.value)
            return self._prune()
        if self.rung == END:
            return self._end()
        number, state = self.recorder.load()
        if self.rung is not None and number != self.rung:
            number, state = self.rung, None
        return self._run(number, state)

    def _settled(self, asked: Schedule) -> Schedule:
        """Return what is trained: as asked, or what that came to where its warmup was adjusted.

        That is settled in a trial's first run, and its other runs train just that.

        Raises:
            StudyError: if what is stored is no such schedule.
        """
        if Attribute.SCHEDULE not in self.trial.user_attrs:
            return asked
        known = read_schedule(self.trial)
        if known is None or _unadjusted(known) != _unadjusted(asked):
            raise StudyError(f"the stored parameters are not those of the stored schedule{DAMAGED}")
        return known if asked.adjusts and not known.adjusts else asked

    def _keep_schedule(self, known: Schedule) -> None:
        """Keep what the schedule has come to by now; once that is settled, later runs train it."""
        if known.to_dict() != self.trial.user_attrs[Attribute.SCHEDULE]:
            self.trial.set_user_attr(Attribute.SCHEDULE, known.to_dict())
        if not known.adjusts:
            self.schedule = known

    def _end(self) -> Outcome:
        """Return how it ends after it has waited: complete if it was trained in full."""
        frozen = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        mean = as_record(frozen, self.spec, self.rungs).mean
        return self._prune() if mean is None else Outcome(TrialState.COMPLETE, mean)

    def _prune(self) -> Outcome:
        """Return that it is pruned; where it failed to train, samplers are to rank it last.

        Only now, since Optuna keeps a constraint for good: what failed on a short horizon may learn
        on a longer one.
        """
        if self.trial.user_attrs.get(Attribute.FAILED_TO_TRAIN):
            self.trial.set_constraint(Constraint.FAILED_TO_TRAIN, 1.0)
        return Outcome(TrialState.PRUNED)

    def _describe(self) -> None:
        """Store what is trained, and whether that is nothing new, or nothing at all."""
        clock = clock_of(self.task)  # without what is prepended, which the schedule says
        self.trial.set_user_attr(Attribute.TOTAL_STEPS, clock.total_steps)
        self.trial.set_user_attr(Attribute.LR_EVERY, clock.lr_every)
        self.trial.set_user_attr(Attribute.SCHEDULE, self.schedule.to_dict())
        if is_degenerate(self.schedule, clock_of(self.task, schedule=self.schedule)):
            self.trial.set_user_attr(Attribute.DEGENERATE, True)
        elif duplicate := find_duplicate(self.trial, self.spec, self.rungs):
            self._take_result(duplicate)

    def _take_result(self, other: TrialRecord) -> None:
        """Take what a trial with the same curve has shown; not where that may yet go on."""
        for step, value in other.reports.items() if self.rung is None else ():
            self.trial.report(value, step)
        if other.diverged:
            self.trial.set_constraint(Constraint.DIVERGED, 1.0)
            self.trial.set_user_attr(Attribute.DIVERGED, other.diverged._asdict())
        if other.failed_to_train:
            self.trial.set_user_attr(Attribute.FAILED_TO_TRAIN, True)
        self.trial.set_user_attr(Attribute.DUPLICATE_OF, other.number)

    def _run(self, number: int, state: dict[str, Any] | None) -> Run:
        rung = self.rungs[number]
        seed = self.trial.user_attrs.get(Attribute.SEED, self.spec.study.seed) + rung.seed
        frozen = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        self._reported = set(frozen.intermediate_values)
        self._others = self._courses() if rung.check else []
        self._epochs_done = 0
        return Run(self.task, self.schedule, number, rung.epochs, seed, state)

    def _courses(self) -> list[list[Shown]]:
        """Return what each full run has shown after each of its epochs; not those that stopped."""
        courses = defaultdict[int, list[Shown]](list)
        for row in self.recorder.rows():
            if self.rungs[row.run].full:
                courses[row.run].append(Shown(row.metrics[self.spec.study.metric], row.lr))
        return [course for course in courses.values() if len(course) == self.rungs[-1].epochs]

    def _holds(self, progress: Progress) -> bool:
        """Return whether a check is seen not to collapse."""
        maximize = self.spec.study.direction == "maximize"
        return holds(progress.epoch, self._value(progress), self._others, maximize=maximize)

    def _save(self, run: Run, progress: Progress) -> None:
        if progress.capture is not None:
            self.recorder.save(run.number, progress.epoch, progress.capture())

    def _row(self, run: Run, progress: Progress) -> EpochMetrics:
        """Return what an epoch showed; after the last of a confirmation, on the test set too."""
        step, lr = progress.place(run.schedule, run.task, run.epochs)
        metrics = progress.metrics
        confirmed = self.spec.confirm and progress.epoch == run.epochs and not progress.diverged
        if confirmed and progress.test:
            metrics = {**metrics, **progress.test()}
        place = self.trial.number, run.number, progress.epoch, step, lr
        return EpochMetrics(*place, metrics, progress.curve)

    def _value(self, progress: Progress) -> float:
        metric = self.spec.study.metric
        if metric not in progress.metrics:
            raise TaskError(
                f"the task gives no metric {metric!r}; {nearest(metric, progress.metrics)}"
            )
        return progress.metrics[metric]

    def _mark_diverged(self, row: EpochMetrics) -> None:
        """Mark the trial infeasible, so that samplers rank it last, and say where it happened."""
        self.trial.set_constraint(Constraint.DIVERGED, 1.0)
        place = {"run": row.run, "epoch": row.epoch, "step": row.step, "lr": row.lr}
        self.trial.set_user_attr(Attribute.DIVERGED, place)


def _unadjusted(schedule: Schedule) -> Schedule:
    """Return a schedule without what the adjusting of its warmup has come to."""
    if schedule.warmup is None:
        return schedule
    return replace(schedule, warmup=replace(schedule.warmup, adjust=False, doubled_at=()))
