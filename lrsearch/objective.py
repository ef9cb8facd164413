"""The one place that knows both Optuna and training: trial → schedule → runs → outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from lrsearch.errors import TaskError, nearest
from lrsearch.identity import is_degenerate, twin_of
from lrsearch.schedules import Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage import EpochMetrics
from lrsearch.tasks import Progress, Task, load_task

Advance = Callable[[Iterator[Progress]], Progress | None]
"""Takes the next progress of a run; `None` at its end. A worker's can be interrupted."""


class Keeper(Protocol):
    """What keeps the progress of one trial, so that it can go on from there."""

    def load(self) -> tuple[int, dict[str, Any] | None]:
        """Return the run to go on with, from 0, and the state in it (`None`: from its start)."""
        ...

    def save(self, run: int, state: dict[str, Any] | None) -> None:
        """Keep where the trial stands."""
        ...

    def record(self, row: EpochMetrics) -> None:
        """Keep what an epoch showed."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """Make all that is written in a block one transaction."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """A run that a trial wants trained: a whole schedule in so many epochs, from a state on."""

    task: Task
    schedule: Schedule
    number: int
    epochs: int
    seed: int
    state: dict[str, Any] | None


Outcome = tuple[TrialState, float | None]
"""How a trial ended, and its value if it is complete."""
Steps = Generator[Run | None, Progress | None, Outcome]
"""A trial, step by step.

It yields the run that it wants the next epoch of, and is sent its progress, `None` at its end;
it is done with a run when it wants another, or returns. When it has reported it yields `None`, and
is sent `None` to ask whether it goes on: others may report before that.
"""


class Objective:
    """Trains the trials of a study: whole schedules, on each horizon in turn.

    Args:
        spec: what the study is.
        device: a torch device.
        advance: how to take the next progress of a run.
        horizons: the epochs of each run of a trial; the last is the full run.
    """

    def __init__(
        self,
        spec: StudySpec,
        device: str,
        advance: Advance,
        horizons: Sequence[int],
    ) -> None:
        self.spec = spec
        self.horizons = horizons
        self.device = device
        self.advance = advance
        self._tasks: dict[str, Task] = {}
        self._space = cache(spec.search_space)

    def __call__(self, trial: optuna.Trial, keeper: Keeper) -> Outcome:
        """Train a trial to its end.

        Raises:
            Exception: whatever the task raised.
        """
        steps = self.steps(trial, keeper)
        run: Run | None = None
        progress: Iterator[Progress] = iter(())
        try:
            wanted = next(steps)
            while True:
                if wanted is None:
                    wanted = steps.send(None)
                    continue
                if wanted is not run:
                    _close(progress)
                    run, progress = wanted, self._start(wanted)
                wanted = steps.send(self.advance(progress))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        finally:
            _close(progress)

    def steps(self, trial: optuna.Trial, keeper: Keeper) -> Steps:
        """Suggest a trial's schedule, and train it step by step; who sends the progress trains."""
        task = self.task(self.spec.task_options(trial))
        schedule = self._schedule(trial, task)
        total_steps = task.epochs * task.steps_per_epoch
        if "schedule" not in trial.user_attrs:
            with keeper.together():
                trial.set_user_attr("total_steps", total_steps)
                trial.set_user_attr("schedule", schedule.to_dict())
                if is_degenerate(schedule, total_steps):
                    trial.set_user_attr("degenerate", True)
                elif twin := twin_of(schedule, trial.study, trial.number):
                    _take_over(trial, twin)
        if "degenerate" in trial.user_attrs:
            trial.set_constraint("trains", 1.0)
            return TrialState.PRUNED, None
        if "twin" in trial.user_attrs:
            twin = _frozen(trial.study, trial.user_attrs["twin"])
            return twin.state, twin.value if twin.state == TrialState.COMPLETE else None
        return (yield from self._train(trial, keeper, task, schedule))

    def task(self, options: dict[str, Any]) -> Task:
        """Return the task with those options, the last one kept."""
        key = json.dumps(options, sort_keys=True)
        if key not in self._tasks:
            self._tasks = {key: load_task(self.spec.task.run, options)}
        return self._tasks[key]

    def _schedule(self, trial: optuna.Trial, task: Task) -> Schedule:
        """Return the trial's schedule, given or suggested."""
        total_steps = task.epochs * task.steps_per_epoch
        space = self._space(getattr(task, "base_lr", None))
        given = trial.user_attrs.get("given")
        if given is None:
            return space.suggest(trial, total_steps)
        schedule = Schedule.from_dict(given)
        if space.params(schedule, total_steps) is not None:
            space.suggest(trial, total_steps)  # its parameters are fixed to the given ones
        return schedule

    def _train(self, trial: optuna.Trial, keeper: Keeper, task: Task, schedule: Schedule) -> Steps:
        """Train run after run, each the whole schedule on a longer horizon."""
        seed = trial.user_attrs.get("seed", self.spec.study.seed)
        first, state = keeper.load()
        value = None
        for number, epochs in enumerate(self.horizons[first:], first):
            if number > first:
                state = None
                keeper.save(number, state)
            run = Run(task, schedule, number, epochs, seed, state)
            value = yield from self._train_run(trial, keeper, run)
            if value is None:
                return TrialState.PRUNED, None
        return TrialState.COMPLETE, value

    def _train_run(
        self, trial: optuna.Trial, keeper: Keeper, run: Run
    ) -> Generator[Run | None, Progress | None, float | None]:
        """Train one run and report; return its last value, `None` if it is to go no further."""
        reported = _frozen(trial.study, trial.number).intermediate_values
        done = 0
        while (progress := (yield run)) is not None:
            ends = progress.epoch == run.epochs
            row = self._row(trial.number, run, progress)
            with keeper.together():
                keeper.record(row)
                if progress.diverged:
                    _mark_diverged(trial, row)
                    return None
                value = self._value(progress)
                if (ends or self.spec.compares_epochs) and progress.epoch not in reported:
                    trial.report(value, progress.epoch)
            if ends and run.epochs == self.horizons[-1]:
                return value
            if ends or self.spec.compares_epochs:
                yield None
                if trial.should_prune():
                    return None
            if ends:
                return value
            if progress.capture is not None:
                keeper.save(run.number, progress.capture())
            done = progress.epoch
        raise TaskError(f"the task ended after {done} of {run.epochs} epochs; it must yield each")

    def _row(self, trial: int, run: Run, progress: Progress) -> EpochMetrics:
        """Return what an epoch showed; after the last of a confirmation, on the test set too."""
        step, lr = progress.place(run.schedule, run.epochs, run.task.steps_per_epoch)
        metrics = progress.metrics
        confirmed = self.spec.confirm and progress.epoch == run.epochs and not progress.diverged
        if confirmed and progress.test:
            metrics = {**metrics, **progress.test()}
        return EpochMetrics(trial, run.number, progress.epoch, step, lr, metrics)

    def _start(self, run: Run) -> Iterator[Progress]:
        return iter(
            run.task.run(
                run.schedule,
                epochs=run.epochs,
                seed=run.seed,
                device=self.device,
                state=run.state,
            )
        )

    def _value(self, progress: Progress) -> float:
        metric = self.spec.study.metric
        if metric not in progress.metrics:
            raise TaskError(
                f"the task gives no metric {metric!r}; {nearest(metric, progress.metrics)}"
            )
        return progress.metrics[metric]


def _close(run: Iterator[Progress]) -> None:
    if close := getattr(run, "close", None):
        close()


def _frozen(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _mark_diverged(trial: optuna.Trial, row: EpochMetrics) -> None:
    """Mark the trial infeasible, so that samplers rank it last, and say where it happened."""
    trial.set_constraint("diverged", 1.0)
    place = {"run": row.run, "epoch": row.epoch, "step": row.step, "lr": row.lr}
    trial.set_user_attr("diverged", place)


def _take_over(trial: optuna.Trial, twin: FrozenTrial) -> None:
    """Give a trial what its twin has found."""
    for step, value in twin.intermediate_values.items():
        trial.report(value, step)
    if "diverged" in twin.user_attrs:
        trial.set_constraint("diverged", 1.0)
        trial.set_user_attr("diverged", twin.user_attrs["diverged"])
    trial.set_user_attr("twin", twin.number)
