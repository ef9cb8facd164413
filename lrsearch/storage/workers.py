"""Who works on a study: the workers, what each holds, and what a dead one leaves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select

from lrsearch.storage.leases import now
from lrsearch.storage.processes import is_alive
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import leases, workers


@dataclass(frozen=True)
class WorkerRow:
    """A worker that has not left.

    `last_seen` is in seconds since 1970 by the clock of the storage, `silent` the seconds since
    then; `dead` is whether its process is known to be; `trials` are Optuna's ids of what it holds,
    each with the rung that it trains, where trials climb those.
    """

    id: str
    host: str
    pid: int
    device: str
    last_seen: float
    silent: float
    dead: bool
    trials: dict[int, int | None]


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
    open_leases = select(leases.c.worker_id, leases.c.trial_id, leases.c.rung).where(
        leases.c.study_id == study_id, leases.c.ended.is_(None), leases.c.expires > 0
    )
    with storage.reading() as connection:
        time = now(connection)
        rows = connection.execute(present.order_by(workers.c.started)).all()
        trials: dict[str, dict[int, int | None]] = defaultdict(dict)
        for lease in connection.execute(open_leases.order_by(leases.c.trial_id)):
            trials[lease.worker_id][lease.trial_id] = lease.rung
    return [
        WorkerRow(
            id=row.worker_id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            last_seen=row.last_seen,
            silent=time - row.last_seen,
            dead=is_alive(row.host, row.pid, row.process) is False,
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
        latest = now(connection)
        rows = connection.execute(query).all()

    def time(stored: float) -> float:
        return min(max(0.0, stored), latest)  # whatever a damaged row holds, or a clock set back

    return [
        LeaseSpan(
            f"{row.host}:{row.pid} {row.device}",
            row.trial_id,
            time(row.begun),
            None if row.ended is None else time(row.ended),
            row.rung,
        )
        for row in rows
    ]


def current_time(storage: Storage) -> float:
    """Return the time by the clock that leases run on, in seconds since 1970."""
    with storage.reading() as connection:
        return now(connection)


def count_epochs_of(storage: Storage, study_id: int, host: str, pid: int, since: float) -> int:
    """Return how many epochs the workers of a process were the first to train.

    Args:
        storage: where the study is.
        study_id: Optuna's id of the study.
        host: where the process ran.
        pid: its id.
        since: when it started, since ids are given again.
    """
    trained = select(func.coalesce(func.sum(workers.c.epochs), 0)).where(
        workers.c.study_id == study_id,
        workers.c.host == host,
        workers.c.pid == pid,
        workers.c.started >= since,
    )
    with storage.reading() as connection:
        return int(connection.execute(trained).scalar_one())
