"""Where a study stands: counts, the best trial so far, the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import TrialState

from lrsearch.errors import StudyError
from lrsearch.search import SeedModel
from lrsearch.storage import EpochMetrics, count_epochs, masked, read_workers, slow_trials
from lrsearch.study.records import TrialRecord, epochs_by_trial
from lrsearch.study.study import Study


@dataclass(frozen=True)
class Best:
    """The best trial by the mean of its full runs: its number, that mean, what it trains.

    `seeds` is on how many it was trained in full: 0 while no trial is, then it is the best of those
    that came furthest; `known_from` says so in words. `expected` is what it is expected to come to
    on other seeds, and `error` half the 95 % interval of that, both none where too few trials were
    trained on several seeds to tell; `schedule` is its JSON form.
    """

    trial: int
    value: float
    seeds: int
    known_from: str
    expected: float | None
    error: float | None
    params: dict[str, Any]
    schedule: dict[str, Any]

    @classmethod
    def of(cls, best: TrialRecord, trials: Iterable[TrialRecord]) -> Best:
        """Return what is known of the best of some trials."""
        assert best.value is not None
        assert best.schedule is not None
        model = SeedModel([trial.full_values for trial in trials if trial.full_values])
        estimate = model.estimate(best.full_values)
        return cls(
            trial=best.number,
            value=best.value,
            seeds=len(best.full_values),
            known_from=best.known_from,
            expected=estimate.value if estimate else None,
            error=estimate.error if estimate else None,
            params=dict(best.params),
            schedule=best.schedule.to_dict(),
        )

    @property
    def summary(self) -> str:
        """The value with what is known of it: its seeds, and what is expected on others."""
        known = f"{self.value:.4f} {self.known_from}"
        if self.expected is None:
            return known
        return f"{known}, {self.expected:.4f} ± {self.error:.4f} expected on others"


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker trains.

    The epochs trained in the present run, that run's length in epochs (its horizon), the family,
    and the learning rate and loss of the last epoch. `slow` are the seconds that its present epoch
    has taken, where those are ten times as many as others took; else none.
    """

    trial: int
    epoch: int
    horizon: int
    schedule: str | None
    lr: float | None
    loss: float | None
    slow: float | None


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
    """Where a study stands. A diverged trial counts under `pruned` too.

    A trial that waits to go on counts by what it has trained: in full (`complete`), or on a short
    horizon (`pruned`); `waiting` are those that have yet to begin.

    `duplicates` are trials whose curve another trial had trained before. `epochs` were trained in
    all, of a budget of `epochs_target` if there is one; `full_epochs` had each finished trial
    trained the full run once. `unstable` are the trials whose loss jumped up between two batches
    but stayed finite.
    """

    study: str
    storage: str
    target: int
    complete: int
    pruned: int
    diverged: int
    failed: int
    running: int
    waiting: int
    duplicates: int
    epochs: int
    epochs_target: int | None
    full_epochs: int
    best: Best | None
    unstable: list[int]
    workers: list[WorkerStatus]

    @property
    def share(self) -> float:
        """How much of its budgets of trials and epochs is used up, in [0, 1]: of the nearer one."""
        epochs = self.epochs / self.epochs_target if self.epochs_target else 0.0
        return min(1.0, max(self.finished / self.target, epochs))

    @property
    def finished(self) -> int:
        """Trials that count towards the target."""
        return self.complete + self.pruned

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain JSON."""
        return asdict(self)


def read_status(study: Study) -> Status:
    """Read where a study stands."""
    records = study.records()
    rest = [record for record in records if record.state != TrialState.RUNNING]
    count = Counter(record.outcome for record in rest)
    pruned = count["pruned"] + count["diverged"]
    finished = count["complete"] + pruned
    running, target = len(records) - len(rest), study.target
    return Status(
        study=study.name,
        storage=masked(study.storage.engine.url),
        target=target,
        complete=count["complete"],
        pruned=pruned,
        diverged=sum(record.diverged is not None for record in records),
        failed=count["failed"],
        running=running,
        waiting=max(0, target - finished - running),
        duplicates=sum(record.duplicate_of is not None for record in records),
        epochs=count_epochs(study.storage, study.study_id),
        epochs_target=study.epochs_target,
        full_epochs=finished * study.rungs[-1].epochs,
        best=_read_best(study, records),
        unstable=[record.number for record in records if record.unstable],
        workers=_read_workers(study, {record.id: record for record in records}),
    )


def no_result(status: Status) -> str:
    """Return why a study that has ended has no result, and what helps."""
    if status.failed and not status.finished:
        return "every trial failed; `lrsearch status` and the logs say by what: mend that"
    if status.diverged and status.diverged == status.finished:
        return (
            f"all {status.diverged} trials diverged: lower space.base_lr, where `lrsearch find-lr` "
            "suggests a range; if low rates diverge too, check the loss and the data"
        )
    return (
        f"no trial was trained in full: {status.finished} ended before ({status.diverged} diverged)"
        ", and the budget is used up; raise it with `lrsearch resume` (--trials, --epochs, --time)"
    )


def _read_best(study: Study, records: list[TrialRecord]) -> Best | None:
    try:
        return Best.of(study.best(), records)
    except StudyError:
        return None


def _read_workers(study: Study, records: dict[int, TrialRecord]) -> list[WorkerStatus]:
    rows = read_workers(study.storage, study.study_id)
    held = {row.id: [records[trial] for trial in row.trials if trial in records] for row in rows}
    numbers = [record.number for mine in held.values() for record in mine]
    epochs = epochs_by_trial(study.storage, study.study_id, numbers)
    slow = slow_trials(study.storage, study.study_id) if numbers else {}
    workers = [
        WorkerStatus(
            id=row.id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            alive=not row.dead and row.silent <= study.spec.workers.lease,
            trials=[
                _running(record, epochs.get(record.number, []), slow.get(record.id))
                for record in held[row.id]
            ],
        )
        for row in rows
    ]
    return [worker for worker in workers if worker.alive or worker.trials]


def _running(record: TrialRecord, epochs: list[EpochMetrics], slow: float | None) -> RunningTrial:
    last = epochs[-1] if epochs else None
    run = last.run if last else 0
    if last and last.epoch == record.rungs[run].epochs and run + 1 < len(record.rungs):
        run += 1  # it has gone on to the next rung, or is about to end
    return RunningTrial(
        trial=record.number,
        epoch=sum(row.run == run for row in epochs),
        horizon=record.rungs[run].epochs,
        schedule=record.family or None,
        lr=last.lr if last else None,
        loss=last.metrics.get("train_loss", last.metrics.get("val_loss")) if last else None,
        slow=slow,
    )
