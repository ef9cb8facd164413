"""The one place that knows both Optuna and training: trial → schedule → run → outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.trial import TrialState

from lrsearch.checkpoints import Checkpoints
from lrsearch.errors import StorageError, TaskError, nearest
from lrsearch.schedules import Schedule
from lrsearch.storage import EpochMetrics, Lease, read_metrics, record_metrics
from lrsearch.study import Study
from lrsearch.tasks import Progress, Task, load_task

log = logging.getLogger(__name__)

Advance = Callable[[Iterator[Progress]], Progress | None]
"""Takes the next progress of a run; `None` at its end. A worker's can be interrupted."""


class Objective:
    """Trains the trials of a study, each from its last checkpoint.

    Args:
        study: the study.
        worker_id: who trains, for the record.
        device: a torch device.
        advance: how to take the next progress of a run.
    """

    def __init__(self, study: Study, worker_id: str, device: str, advance: Advance) -> None:
        self.study = study
        self.worker_id = worker_id
        self.device = device
        self.advance = advance
        self.checkpoints = Checkpoints(study.files / "checkpoints")
        self._tasks: dict[str, Task] = {}

    def __call__(self, lease: Lease) -> None:
        """Train the leased trial to its end, and tell Optuna how it ended.

        Raises:
            LeaseLost: if another worker has taken the trial over; nothing has been written then.
            Exception: whatever the task raised; the trial is still running in the storage then.
        """
        with self.study.storage.guarded(lease.check):
            trial = self.study.trial(lease.trial_id, lease.number)
            task = self._task(self.study.spec.task_options(trial))
            schedule = self._schedule(trial, task)
            state = self._train(trial, lease, task, schedule)
            value = self._last_value(lease) if state == TrialState.COMPLETE else None
            self._keep_stability(trial)
            self.study.optuna.tell(lease.number, value, state)
        self.checkpoints.remove(lease.number)

    def fail(self, lease: Lease, message: str) -> None:
        """Record that the leased trial failed, and why."""
        with self.study.storage.guarded(lease.check):
            self.study.storage.set_trial_user_attr(lease.trial_id, "error", message)
            self.study.optuna.tell(lease.number, state=TrialState.FAIL)
        self.checkpoints.remove(lease.number)

    def _task(self, options: dict[str, Any]) -> Task:
        key = json.dumps(options, sort_keys=True)
        if key not in self._tasks:
            self._tasks = {key: load_task(self.study.spec.task.run, options)}
        return self._tasks[key]

    def _schedule(self, trial: optuna.Trial, task: Task) -> Schedule:
        """Return the trial's schedule, given or suggested, and store it with the trial."""
        total_steps = task.epochs * task.steps_per_epoch
        space = self.study.spec.search_space(getattr(task, "base_lr", None))
        given = trial.user_attrs.get("given")
        if given is None:
            schedule = space.suggest(trial, total_steps)
        else:
            schedule = Schedule.from_dict(given)
            if space.params(schedule, total_steps) is not None:
                space.suggest(trial, total_steps)  # its parameters are fixed to the given ones
        if "schedule" not in trial.user_attrs:
            trial.set_user_attr("total_steps", total_steps)
            trial.set_user_attr("schedule", schedule.to_dict())
        return schedule

    def _train(
        self, trial: optuna.Trial, lease: Lease, task: Task, schedule: Schedule
    ) -> TrialState:
        """Train the run, report after each epoch, and say how it ended."""
        reported = self.study.storage.get_trial(lease.trial_id).intermediate_values
        progress = None
        for progress in self._run(lease, task, schedule):
            self._record(lease, task, schedule, progress)
            if progress.diverged:
                self._mark_diverged(trial, task, schedule, progress)
                return TrialState.PRUNED
            value = self._value(progress)
            if progress.epoch not in reported:
                trial.report(value, progress.epoch)
            if progress.epoch == task.epochs:
                return TrialState.COMPLETE
            if trial.should_prune():
                return TrialState.PRUNED
            if progress.capture is not None:
                self._save(lease, progress.capture())
        done = progress.epoch if progress else 0
        raise TaskError(f"the task ended after {done} of {task.epochs} epochs; it must yield each")

    def _run(self, lease: Lease, task: Task, schedule: Schedule) -> Iterator[Progress]:
        """Start the run from its last checkpoint, and close it whatever happens."""
        state, damaged = self.checkpoints.load(lease.number)
        for path in damaged:
            log.warning("trial %d: checkpoint %s is damaged and left out", lease.number, path.name)
        run = iter(
            task.run(
                schedule,
                epochs=task.epochs,
                seed=self.study.spec.study.seed,
                device=self.device,
                state=state,
            )
        )
        try:
            while (progress := self.advance(run)) is not None:
                yield progress
        finally:
            if close := getattr(run, "close", None):
                close()

    def _save(self, lease: Lease, state: dict[str, Any]) -> None:
        try:
            self.checkpoints.save(lease.number, lease.lease_id, state)
        except StorageError as error:  # it costs time if the worker dies, and no result
            log.warning("trial %d goes on without: %s", lease.number, error)

    def _value(self, progress: Progress) -> float:
        metric = self.study.spec.study.metric
        if metric not in progress.metrics:
            raise TaskError(
                f"the task gives no metric {metric!r}; {nearest(metric, progress.metrics)}"
            )
        return progress.metrics[metric]

    def _last_value(self, lease: Lease) -> float:
        values = self.study.storage.get_trial(lease.trial_id).intermediate_values
        return values[max(values)]

    def _record(self, lease: Lease, task: Task, schedule: Schedule, progress: Progress) -> None:
        step, lr = _place(task, schedule, progress)
        row = EpochMetrics(lease.number, 0, progress.epoch, step, lr, progress.metrics)
        record_metrics(self.study.storage, self.study.study_id, self.worker_id, row)

    def _keep_stability(self, trial: optuna.Trial) -> None:
        """Keep the trial's largest gradient norm and loss jump, where its task measures them."""
        rows = read_metrics(self.study.storage, self.study.study_id, trial.number)
        measured = [row.metrics for row in rows if "loss_jump" in row.metrics]
        if measured:
            worst = max(measured, key=lambda metrics: metrics["loss_jump"])
            kept = {name: worst[name] for name in ("loss_jump", "loss_jump_step")}
            kept["grad_norm"] = max(metrics["grad_norm"] for metrics in measured)
            trial.set_user_attr("stability", kept)

    def _mark_diverged(
        self, trial: optuna.Trial, task: Task, schedule: Schedule, progress: Progress
    ) -> None:
        """Mark the trial infeasible, so that samplers rank it last, and say where it happened."""
        step, lr = _place(task, schedule, progress)
        trial.set_constraint("diverged", 1.0)
        trial.set_user_attr("diverged", {"epoch": progress.epoch, "step": step, "lr": lr})


def _place(task: Task, schedule: Schedule, progress: Progress) -> tuple[int, float]:
    """Return the step and the rate of a progress, where the task leaves them out its own."""
    total_steps = task.epochs * task.steps_per_epoch
    step = progress.epoch * task.steps_per_epoch if progress.step is None else progress.step
    last = step if progress.diverged else max(0, step - 1)
    lr = schedule.lr(last, total_steps) if progress.lr is None else progress.lr
    return step, lr
