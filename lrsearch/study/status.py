"""Where a study stands: counts, epochs, the workers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

from optuna.trial import TrialState

from lrsearch.storage import (
    END,
    EpochMetrics,
    count_epochs,
    count_finished_trials,
    latest_trials,
    masked,
    read_workers,
    seconds_left,
    slow_trials,
)
from lrsearch.study.records import TrialRecord, epochs_by_trial, with_train
from lrsearch.study.results import TrialResult, ranked, recovered
from lrsearch.study.study import Study

_FEW = 3
"""Trials that a status names of the best, and of the last."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker trains.

    The epochs trained in the present run, that run's length in epochs (its horizon), the family,
    and the learning rate and loss of the last epoch. `slow` are the seconds that its present epoch
    has taken, where those are ten times as many as others took; else none. `curves` are, by name,
    the train loss of the present run and what the study's metric is on the training data, such as
    the train accuracy: several times an epoch, as far as the task tells.
    """

    trial: int
    epoch: int
    horizon: int
    schedule: str | None
    lr: float | None
    loss: float | None
    slow: float | None
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class TrialStatus:
    """A trial that no worker trains now: how it ended, what it trained, what it came to.

    `value` is of the longest run that it has trained; none if it diverged or failed.
    """

    trial: int
    outcome: str
    schedule: str
    base_lr: float
    value: float | None


@dataclass(frozen=True)
class WorkerStatus:
    """A worker that lives, or died while it trained; times in seconds since 1970."""

    id: str
    host: str
    pid: int
    device: str
    last_seen: float
    alive: bool
    trials: list[RunningTrial]


@dataclass(frozen=True)
class Status:
    """Where a study stands. A trial that diverged or failed to train counts under `pruned` too.

    A trial that waits to go on counts by what it has trained: in full (`complete`), or on a short
    horizon (`pruned`); `waiting` are those that have yet to begin.

    `running` are those that a living worker trains; `interrupted` those whose worker is gone, which
    the next one goes on with.

    `duplicates` are trials whose curve another trial had trained before. `epochs` were trained in
    all, of a budget of `epochs_target` if there is one; `full_epochs` had each finished trial
    trained the full run once. `seconds_left` are those of a budget of time, `seconds_target`, from
    when the first trial begins. `unstable` are the trials whose loss jumped, but which recovered.
    `leading` are the few best trials, the best first; `latest` those that have trained last, the
    last first.
    """

    study: str
    storage: str
    target: int
    complete: int
    pruned: int
    diverged: int
    failed_to_train: int
    failed: int
    running: int
    interrupted: int
    waiting: int
    duplicates: int
    epochs: int
    epochs_target: int | None
    full_epochs: int
    seconds_target: float | None
    seconds_left: float | None
    unstable: list[int]
    leading: list[TrialStatus]
    latest: list[TrialStatus]
    workers: list[WorkerStatus]

    @property
    def share(self) -> float:
        """How much of its budgets is used up, in [0, 1]: of the one that is nearest to its end."""
        epochs = self.epochs / self.epochs_target if self.epochs_target else 0.0
        time = 0.0
        if self.seconds_target and self.seconds_left is not None:
            time = 1 - self.seconds_left / self.seconds_target
        return min(1.0, max(self.finished / self.target, epochs, time))

    @property
    def epochs_left(self) -> int | None:
        """About how many epochs are left to train; `None` before a trial has finished.

        Trials to come take what those before them took on average, in all of their runs.
        """
        if not self.finished:
            return None
        mean = self.epochs / (self.finished + 0.5 * (self.running + self.interrupted))
        left = mean * (max(0, self.target - self.finished) - 0.5 * self.running)
        if self.epochs_target:
            left = min(left, self.epochs_target - self.epochs)
        return max(0, round(left))

    @property
    def finished(self) -> int:
        """Trials that count towards the target."""
        return self.complete + self.pruned

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain JSON."""
        return asdict(self)


def read_status(study: Study) -> Status:
    """Read where a study stands."""
    results = study.results()
    rest = [result for result in results if result.state != TrialState.RUNNING]
    count = Counter(result.outcome for result in rest)
    pruned = count["pruned"] + count["diverged"] + count["failed to train"]
    finished = count["complete"] + pruned
    workers = _read_workers(study, results)
    running = sum(len(worker.trials) for worker in workers if worker.alive)
    begun, target = len(results) - len(rest), study.target
    return Status(
        study=study.name,
        storage=masked(study.storage.engine.url),
        target=target,
        complete=count["complete"],
        pruned=pruned,
        diverged=sum(result.diverged is not None for result in results),
        failed_to_train=count["failed to train"],
        failed=count["failed"],
        running=running,
        interrupted=max(0, begun - running),
        waiting=max(0, target - finished - begun),
        duplicates=sum(result.duplicate_of is not None for result in results),
        epochs=count_epochs(study.storage, study.study_id),
        epochs_target=study.epochs_target,
        full_epochs=finished * study.rungs[-1].epochs,
        seconds_target=study.seconds_target,
        seconds_left=seconds_left(study.storage, study.study_id),
        unstable=[result.number for result in recovered(results)],
        leading=_leading(study, rest),
        latest=_latest(study, rest),
        workers=workers,
    )


def no_result(status: Status) -> str:
    """Return why a study that has ended has no result, and what helps."""
    if status.failed and not status.finished:
        return "every trial failed; `lrsearch status` and the logs say by what: mend that"
    ends = {"diverged": status.diverged, "failed to train": status.failed_to_train}
    how = " or ".join(name for name, count in ends.items() if count)
    if how and sum(ends.values()) == status.finished:
        return (
            f"all {status.finished} trials {how}: lower space.base_lr, where `lrsearch find-lr` "
            "suggests a range; if low rates do too, check the loss and the data"
        )
    shown = ", ".join(f"{count} {name}" for name, count in ends.items())
    return (
        f"no trial was trained in full: {status.finished} ended before ({shown})"
        ", and the budget is used up; raise it with `lrsearch resume` (--trials, --epochs, --time)"
    )


class Ended(NamedTuple):
    """Why a search has ended; "" if it has not.

    `options` let `lrsearch resume` go on; none if nothing does.
    """

    why: str
    options: str | None


def why_ended(study: Study) -> Ended:
    """Return why a search that no worker works on any more has ended: what is used up."""
    if study.stopping:
        return Ended("its workers were told to leave", "")
    used_up: dict[str, str] = {}
    finished, target = count_finished_trials(study.storage, study.study_id), study.target
    if finished >= target:
        used_up[f"{finished} of {target} trials have finished"] = f"--trials {2 * target}"
    if epochs := study.epochs_target:
        left, full = epochs - count_epochs(study.storage, study.study_id), study.rungs[-1].epochs
        leads = _epochs_to_lead(study)
        if left < leads:
            what = f"a full run takes {full}" if left < full else f"a new best would take {leads}"
            used_up[f"{left} of {epochs} epochs are left, and {what}"] = f"--epochs {2 * epochs}"
    if seconds_left(study.storage, study.study_id) == 0:
        used_up["its time is up"] = f"--time {math.ceil(study.seconds_target or 0)}s"
    if not used_up and study.spec.study.patience:
        trials = f"the last {study.spec.study.patience} trials"
        return Ended(f"{trials} brought nothing better by more than seeds explain", None)
    return Ended("; ".join(used_up), " ".join(used_up.values()))


def _epochs_to_lead(study: Study) -> int:
    """Return what a trial that begins takes to become the best; where none climbs, a full run."""
    if study.climb is None:
        return study.rungs[-1].epochs
    in_full = sum(bool(result.full_values) for result in study.results())
    return study.climb.epochs_to_lead(0, in_full)


def why_stopped(study: Study) -> str:
    """Return why a study stopped whose trials failed too many times in a row."""
    errors = [record.error for record in study.records() if record.error]
    return (
        f"study {study.name!r} stopped: {study.spec.workers.max_failures} trials in a row failed, "
        f"the last by: {errors[-1] if errors else 'see the logs'}"
    )


def _leading(study: Study, results: list[TrialResult]) -> list[TrialStatus]:
    best = ranked(results, maximize=study.maximize)
    return _trials(study, [result.number for result in best[:_FEW]])


def _latest(study: Study, results: list[TrialResult]) -> list[TrialStatus]:
    known = {result.number for result in results}
    last = (n for n in latest_trials(study.storage, study.study_id) if n in known)
    return _trials(study, list(islice(last, _FEW)))


def _trials(study: Study, numbers: list[int]) -> list[TrialStatus]:
    records = study.records_of(numbers)
    return [_trial(records[number]) for number in numbers if records[number].schedule]


def _trial(record: TrialRecord) -> TrialStatus:
    return TrialStatus(
        trial=record.number,
        outcome=record.outcome,
        schedule=record.family,
        base_lr=record.base_lr,
        value=record.value,
    )


def _read_workers(study: Study, results: list[TrialResult]) -> list[WorkerStatus]:
    rows = read_workers(study.storage, study.study_id)
    held_ids = {trial_id for row in rows for trial_id in row.trials}
    numbers = [result.number for result in results if result.id in held_ids]
    records = {record.id: record for record in study.records_of(numbers).values()}
    held = {
        row.id: [(records[trial], rung) for trial, rung in row.trials.items() if trial in records]
        for row in rows
    }
    epochs = epochs_by_trial(study.storage, study.study_id, numbers)
    slow = slow_trials(study.storage, study.study_id) if numbers else {}
    drawn = dict.fromkeys(("train_loss", with_train(study.spec.study.metric)[0]))
    workers = [
        WorkerStatus(
            id=row.id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            alive=not row.dead and row.silent <= study.spec.workers.lease,
            trials=[
                _running(record, rung, epochs.get(record.number, []), slow.get(record.id), drawn)
                for record, rung in held[row.id]
            ],
        )
        for row in rows
    ]
    return [worker for worker in workers if worker.alive or worker.trials]


def _running(
    record: TrialRecord,
    rung: int | None,
    epochs: list[EpochMetrics],
    slow: float | None,
    drawn: Iterable[str],
) -> RunningTrial:
    last = epochs[-1] if epochs else None
    run = last.run if last else 0
    if rung is not None:
        run = run if rung == END else rung
    elif last and last.epoch == record.rungs[run].epochs and run + 1 < len(record.rungs):
        run += 1  # it has gone on to the next run, or is about to end
    return RunningTrial(
        trial=record.number,
        epoch=sum(row.run == run for row in epochs),
        horizon=record.rungs[run].epochs,
        schedule=record.family or None,
        lr=last.lr if last else None,
        loss=last.metrics.get("train_loss", last.metrics.get("val_loss")) if last else None,
        slow=slow,
        curves={name: points for name in drawn if (points := _within(epochs, run, name))},
    )


def _within(epochs: list[EpochMetrics], run: int, name: str) -> list[float]:
    """Return a metric's course within the epochs of a run, without what is not finite."""
    points = [metrics for row in epochs if row.run == run for _, metrics in row.curve]
    return [value for point in points if math.isfinite(value := point.get(name, math.nan))]
