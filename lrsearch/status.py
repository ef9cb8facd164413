"""Where a study stands: counts, the best trial so far, the workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from lrsearch.errors import StudyError
from lrsearch.storage import EpochMetrics, count_epochs, masked, read_metrics
from lrsearch.storage.leases import now
from lrsearch.storage.tables import leases, workers
from lrsearch.study import Study, recovered


@dataclass(frozen=True)
class Best:
    """The best complete trial."""

    trial: int
    value: float
    params: dict[str, Any]
    schedule: dict[str, Any]


@dataclass(frozen=True)
class InHand:
    """A trial that a worker has in hand.

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
    """A worker that lives, or died with trials in hand; times in seconds since 1970."""

    id: str
    host: str
    pid: int
    device: str
    last_seen: float
    alive: bool
    trials: list[InHand]


@dataclass(frozen=True)
class Status:
    """Where a study stands. A diverged trial counts under `pruned` too.

    `twins` are trials whose curve another trial had trained before; `epochs` were trained in all,
    of `full_epochs` had each finished trial trained the full run alone; `recovered` are the trials
    whose loss jumped up between two batches and came down again.
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
    twins: int
    epochs: int
    full_epochs: int
    best: Best | None
    recovered: list[int]
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
    trials = study.optuna.get_trials(deepcopy=False)
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    running = count[TrialState.RUNNING]
    target = study.target
    finished = count[TrialState.COMPLETE] + count[TrialState.PRUNED]
    try:
        trial = study.best_trial()
        best = Best(
            trial.number, float(trial.values[0]), trial.params, trial.user_attrs["schedule"]
        )
    except StudyError:
        best = None
    return Status(
        study=study.name,
        storage=masked(study.storage.engine.url),
        target=target,
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        diverged=sum("diverged" in trial.user_attrs for trial in trials),
        failed=count[TrialState.FAIL],
        running=running,
        waiting=max(0, target - finished - running),
        twins=sum("twin" in trial.user_attrs for trial in trials),
        epochs=count_epochs(study.storage, study.study_id),
        full_epochs=finished * study.horizons[-1],
        best=best,
        recovered=[trial.number for trial in trials if recovered(trial)],
        workers=_read_workers(study, {trial._trial_id: trial for trial in trials}),
    )


def _read_workers(study: Study, trials: dict[int, FrozenTrial]) -> list[WorkerStatus]:
    present = select(workers).where(workers.c.study_id == study.study_id, workers.c.ended.is_(None))
    held = select(leases.c.worker_id, leases.c.trial_id).where(
        leases.c.study_id == study.study_id, leases.c.ended.is_(None), leases.c.expires > 0
    )
    with study.storage.reading() as connection:
        time = now(connection)
        rows = connection.execute(present.order_by(workers.c.started)).all()
        holders = connection.execute(held.order_by(leases.c.trial_id)).all()
    in_hand: dict[str, list[FrozenTrial]] = defaultdict(list)
    for holder in holders:
        if trial := trials.get(holder.trial_id):
            in_hand[holder.worker_id].append(trial)
    numbers = [trial.number for mine in in_hand.values() for trial in mine]
    epochs: dict[int, list[EpochMetrics]] = defaultdict(list)
    for row in read_metrics(study.storage, study.study_id, numbers):
        epochs[row.trial].append(row)
    found = [
        WorkerStatus(
            id=row.worker_id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            alive=time - row.last_seen <= study.spec.workers.lease,
            trials=[
                _in_hand(trial, epochs[trial.number], study.horizons)
                for trial in in_hand[row.worker_id]
            ],
        )
        for row in rows
    ]
    return [worker for worker in found if worker.alive or worker.trials]


def _in_hand(trial: FrozenTrial, epochs: list[EpochMetrics], horizons: tuple[int, ...]) -> InHand:
    last = epochs[-1] if epochs else None
    run = last.run if last else 0
    if last and last.epoch == horizons[run] < horizons[-1]:
        run += 1  # it has gone on to the next horizon, or is about to end
    schedule = trial.user_attrs.get("schedule")
    return InHand(
        trial=trial.number,
        epoch=sum(row.run == run for row in epochs),
        horizon=horizons[run],
        schedule=schedule["schedule"] if schedule else None,
        lr=last.lr if last else None,
        loss=last.metrics.get("train_loss", last.metrics.get("val_loss")) if last else None,
    )
