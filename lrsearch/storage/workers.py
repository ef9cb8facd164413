"""Who works on a study: the workers, what each holds, and what a dead one leaves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select

from lrsearch.storage.engine import Storage
from lrsearch.storage.leases import now, release
from lrsearch.storage.tables import leases, workers


@dataclass(frozen=True)
class WorkerRow:
    """A worker that has not left.

    `last_seen` is in seconds since 1970 by the clock of the storage, `silent` the seconds since
    then; `trials` are Optuna's ids of what it holds.
    """

    id: str
    host: str
    pid: int
    device: str
    last_seen: float
    silent: float
    trials: list[int]


@dataclass(frozen=True)
class LeaseSpan:
    """A worker's hold of a trial; times in seconds since 1970, `ended` none while it lasts.

    Where trials climb rungs, `rung` is the one that it trained.
    """

    worker: str
    trial_id: int
    begun: float
    ended: float | None
    rung: int | None = None


def read_workers(storage: Storage, study_id: int) -> list[WorkerRow]:
    """Return the workers of a study that have not left, in the order in which they joined."""
    present = select(workers).where(workers.c.study_id == study_id, workers.c.ended.is_(None))
    open_leases = select(leases.c.worker_id, leases.c.trial_id).where(
        leases.c.study_id == study_id, leases.c.ended.is_(None), leases.c.expires > 0
    )
    with storage.reading() as connection:
        time = now(connection)
        rows = connection.execute(present.order_by(workers.c.started)).all()
        trials = defaultdict(list)
        for lease in connection.execute(open_leases.order_by(leases.c.trial_id)):
            trials[lease.worker_id].append(lease.trial_id)
    return [
        WorkerRow(
            id=row.worker_id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            silent=time - row.last_seen,
            trials=trials[row.worker_id],
        )
        for row in rows
    ]


def read_lease_spans(storage: Storage, study_id: int) -> list[LeaseSpan]:
    """Return every time that a worker took a trial of a study, in order."""
    query = (
        select(leases, workers.c.host, workers.c.pid, workers.c.device)
        .join(workers, workers.c.worker_id == leases.c.worker_id)
        .where(leases.c.study_id == study_id)
        .order_by(leases.c.begun)
    )
    with storage.reading() as connection:
        rows = connection.execute(query).all()
    return [
        LeaseSpan(
            f"{row.host}:{row.pid} {row.device}", row.trial_id, row.begun, row.ended, row.rung
        )
        for row in rows
    ]


def current_time(storage: Storage) -> float:
    """Return the time by the clock that leases run on, in seconds since 1970."""
    with storage.reading() as connection:
        return now(connection)


def release_leases(storage: Storage, study_id: int, host: str, pid: int, since: float) -> int:
    """Let others take over the trials of a dead process; return the epochs it was first to train.

    Args:
        storage: where the study is.
        study_id: Optuna's id of the study.
        host: where the process ran.
        pid: its id.
        since: when it started, since ids are given again.
    """
    own = select(workers.c.worker_id, workers.c.epochs).where(
        workers.c.study_id == study_id,
        workers.c.host == host,
        workers.c.pid == pid,
        workers.c.started >= since,
    )
    with storage.engine.begin() as connection:
        rows = connection.execute(own).all()
        for worker in rows:
            release(connection, worker.worker_id)
    return sum(worker.epochs for worker in rows)
