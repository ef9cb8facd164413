"""Where a study stands: counts, the best trial so far, the workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import TrialState

from lrsearch.errors import StudyError
from lrsearch.storage import EpochMetrics, count_epochs, masked, read_workers
from lrsearch.study.records import TrialRecord, epochs_by_trial
from lrsearch.study.study import Study


@dataclass(frozen=True)
class Best:
    """The best complete trial: its number, value, parameters and schedule (JSON form)."""

    trial: int
    value: float
    params: dict[str, Any]
    schedule: dict[str, Any]


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker trains.

    The epochs trained in the present run, that run's length in epochs (its horizon), the family,
    and the learning rate and loss of the last epoch.
    """

    trial: int
    epoch: int
    horizon: int
    schedule: str | None
    lr: float | None
    loss: float | None


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

    `duplicates` are trials whose curve another trial had trained before; `epochs` were trained in
    all, of `full_epochs` had each finished trial trained the full run alone; `unstable` are the
    trials whose loss jumped up between two batches but stayed finite.
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
    full_epochs: int
    best: Best | None
    unstable: list[int]
    workers: list[WorkerStatus]

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
    count = Counter(record.state for record in records)
    finished = sum(record.finished for record in records)
    running, target = count[TrialState.RUNNING], study.target
    return Status(
        study=study.name,
        storage=masked(study.storage.engine.url),
        target=target,
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        diverged=sum(record.diverged is not None for record in records),
        failed=count[TrialState.FAIL],
        running=running,
        waiting=max(0, target - finished - running),
        duplicates=sum(record.duplicate_of is not None for record in records),
        epochs=count_epochs(study.storage, study.study_id),
        full_epochs=finished * study.horizons[-1],
        best=_read_best(study),
        unstable=[record.number for record in records if record.unstable],
        workers=_read_workers(study, {record.id: record for record in records}),
    )


def _read_best(study: Study) -> Best | None:
    try:
        best = study.best()
    except StudyError:
        return None
    assert best.value is not None
    assert best.schedule is not None
    return Best(best.number, best.value, dict(best.params), best.schedule.to_dict())


def _read_workers(study: Study, records: dict[int, TrialRecord]) -> list[WorkerStatus]:
    rows = read_workers(study.storage, study.study_id)
    held = {row.id: [records[trial] for trial in row.trials if trial in records] for row in rows}
    numbers = [record.number for mine in held.values() for record in mine]
    epochs = epochs_by_trial(study.storage, study.study_id, numbers)
    workers = [
        WorkerStatus(
            id=row.id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            alive=row.silent <= study.spec.workers.lease,
            trials=[_running(record, epochs.get(record.number, [])) for record in held[row.id]],
        )
        for row in rows
    ]
    return [worker for worker in workers if worker.alive or worker.trials]


def _running(record: TrialRecord, epochs: list[EpochMetrics]) -> RunningTrial:
    last = epochs[-1] if epochs else None
    run = last.run if last else 0
    if last and last.epoch == record.horizons[run] < record.horizons[-1]:
        run += 1  # it has gone on to the next horizon, or is about to end
    return RunningTrial(
        trial=record.number,
        epoch=sum(row.run == run for row in epochs),
        horizon=record.horizons[run],
        schedule=record.family or None,
        lr=last.lr if last else None,
        loss=last.metrics.get("train_loss", last.metrics.get("val_loss")) if last else None,
    )
