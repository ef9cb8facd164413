"""What trials showed after each epoch: one row each, in our own table."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from lrsearch.storage.leases import now
from lrsearch.storage.optuna_private import trials
from lrsearch.storage.seals import epoch_checksum
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import leases, workers
from lrsearch.storage.tables import metrics as table
from lrsearch.storage.trial_rows import collecting_later


class EpochMetrics(NamedTuple):
    """One epoch of one run of a trial; `trial` is Optuna's number, `run` counts from 0.

    `curve` are points within the epoch: the updates so far, and the metrics since the point before.
    """

    trial: int
    run: int
    epoch: int
    step: int
    lr: float
    metrics: Mapping[str, float]
    curve: Sequence[tuple[int, Mapping[str, float]]] = ()


_KEY = "study_id", "trial", "run", "epoch"
_FORGET = delete(table).where(*(table.c[name] == bindparam(f"of_{name}") for name in _KEY))
_RECORD = insert(table)
_SEEN = (
    update(workers)
    .where(workers.c.worker_id == bindparam("of_worker"))
    .values(epochs=workers.c.epochs + bindparam("new"), last_seen=bindparam("time"))
)
_TRIAL = select(trials.c.trial_id).where(
    trials.c.study_id == bindparam("of_study_id"), trials.c.number == bindparam("of_trial")
)
_TRAINED = (
    update(leases)
    .where(leases.c.trial_id == _TRIAL.scalar_subquery(), leases.c.ended.is_(None))
    .where(leases.c.worker_id == bindparam("of_worker"))
    .values(trained=leases.c.trained + bindparam("new"))
)
# built once: each epoch of each trial runs them


def record_metrics(storage: Storage, study_id: int, worker_id: str, row: EpochMetrics) -> None:
    """Record an epoch that a worker trained, in place of what a run before it left there."""
    curve = [(step, _to_json(metrics)) for step, metrics in row.curve]
    stored = {"lr": float(row.lr), "metrics": _to_json(row.metrics), "curve": curve}
    with storage.writing() as connection:
        time = now(connection)
        checksum = _checksum(row, stored, time)
        beside = {"study_id": study_id, "recorded": time, "checksum": checksum}
        values = row._asdict() | stored | beside
        key = {f"of_{name}": values[name] for name in _KEY}
        new = 0 if connection.execute(_FORGET, key).rowcount else 1
        connection.execute(_RECORD, values)
        trained = {"of_worker": worker_id, "new": new}
        connection.execute(_SEEN, {**trained, "time": time})
        connection.execute(_TRAINED, {**trained, **key})


def read_metrics(
    storage: Storage, study_id: int, trials: Collection[int] | None = None
) -> list[EpochMetrics]:
    """Return the epochs of some trials, by their numbers, or of all, by trial, run and epoch."""
    query = select(*(table.c[name] for name in EpochMetrics._fields))
    query = query.where(table.c.study_id == study_id)
    if trials is not None:
        query = query.where(table.c.trial.in_(trials))
    with storage.reading() as connection:
        query = query.order_by(table.c.trial, table.c.run, table.c.epoch)
        with collecting_later():
            rows = connection.execute(query).all()
            return [
                EpochMetrics(
                    trial,
                    run,
                    epoch,
                    step,
                    lr,
                    _from_json(metrics),
                    [(at, _from_json(within)) for at, within in curve or ()],
                )
                for trial, run, epoch, step, lr, metrics, curve in rows
            ]


class RunEnd(NamedTuple):
    """A run of a trial, and how many epochs of it were trained."""

    trial: int
    run: int
    epochs: int


def read_run_ends(storage: Storage, study_id: int) -> list[RunEnd]:
    """Return the runs of a study in the order in which they ended."""
    columns = table.c.trial, table.c.run
    query = (
        select(*columns, func.count())
        .where(table.c.study_id == study_id)
        .group_by(*columns)
        .order_by(func.max(table.c.recorded), *columns)
    )
    with storage.reading() as connection:
        return [RunEnd(*row) for row in connection.execute(query)]


def latest_trials(storage: Storage, study_id: int) -> list[int]:
    """Return the numbers of the trials of a study, the one that has trained last first."""
    query = (
        select(table.c.trial)
        .where(table.c.study_id == study_id)
        .group_by(table.c.trial)
        .order_by(func.max(table.c.recorded).desc(), table.c.trial.desc())
    )
    with storage.reading() as connection:
        return list(connection.execute(query).scalars())


def count_epochs(storage: Storage, study_id: int) -> int:
    """Return how many epochs a study has trained, in all runs of all trials."""
    with storage.reading() as connection:
        return epochs_trained(connection, study_id)


def epochs_trained(connection: Connection, study_id: int) -> int:
    """Return the same within a transaction."""
    query = select(func.count()).select_from(table).where(table.c.study_id == study_id)
    return connection.execute(query).scalar_one()


SLOW = 10.0
"""An epoch that takes so many times as long as others is slow,"""
LEAST_SLOW = 30.0
"""if it takes so many seconds;"""
_LATEST = 500
"""it is compared with so many."""


def is_slow(seconds: float, others: Collection[float]) -> bool:
    """Return whether an epoch takes much longer than others, which took so many seconds each."""
    return len(others) >= 3 and seconds > max(LEAST_SLOW, SLOW * median(others))


def slow_trials(storage: Storage, study_id: int) -> dict[int, float]:
    """Return the trials in training whose epoch is slow: by Optuna's id, its seconds so far."""
    latest = select(table.c.trial, table.c.run, table.c.epoch, table.c.recorded)
    latest = latest.where(table.c.study_id == study_id).order_by(table.c.recorded.desc())
    of_trial = and_(table.c.study_id == trials.c.study_id, table.c.trial == trials.c.number)
    running = (
        select(leases.c.trial_id, leases.c.begun, func.max(table.c.recorded).label("recorded"))
        .join(trials, trials.c.trial_id == leases.c.trial_id)
        .outerjoin(table, of_trial)
        .where(leases.c.study_id == study_id, leases.c.ended.is_(None))
        .group_by(leases.c.lease_id, leases.c.trial_id, leases.c.begun)
    )
    with storage.reading() as connection:
        time = now(connection)
        at = {row[:3]: row.recorded for row in connection.execute(latest.limit(_LATEST))}
        rows = connection.execute(running).all()
    before = ((at.get((trial, run, epoch - 1)), end) for (trial, run, epoch), end in at.items())
    others = [end - begun for begun, end in before if begun is not None]
    passed = {row.trial_id: time - max(row.begun, row.recorded or 0.0) for row in rows}
    return {trial: seconds for trial, seconds in passed.items() if is_slow(seconds, others)}


def _checksum(row: EpochMetrics, stored: Mapping[str, Any], time: float) -> int:
    texts = json.dumps(stored["metrics"]), time, json.dumps(stored["curve"])
    return epoch_checksum(row.trial, row.run, row.epoch, row.step, stored["lr"], *texts)


def _to_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinity, and PostgreSQL refuses them: they become words."""
    return {
        name: float(value) if math.isfinite(value) else str(float(value))
        for name, value in metrics.items()
    }


def _from_json(metrics: Mapping[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
