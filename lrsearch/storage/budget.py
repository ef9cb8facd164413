"""The budgets of a study: how many of its trials count, and what is left of epochs and time."""

from __future__ import annotations

import math
from collections.abc import Collection
from statistics import median
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Row, and_, exists, func, or_, select, update

from lrsearch.storage.leases import now
from lrsearch.storage.metrics import epochs_trained
from lrsearch.storage.optuna_private import reports, trials
from lrsearch.storage.optuna_private import studies as optuna_studies
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import leases, metrics, studies

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states that count towards the budget."""
LATEST_RUNS = 50
"""Runs that tell how long an epoch takes."""


def lock_study(connection: Connection, study_id: int) -> None:
    """Lock what gives out trials of a study, until the transaction ends."""
    connection.execute(
        select(optuna_studies.c.study_id)
        .where(optuna_studies.c.study_id == study_id)
        .with_for_update()
    )


def count_begun(connection: Connection, study_id: int) -> int:
    """Return how many trials have finished, or are leased and yet to finish."""
    running = (
        select(func.count())
        .select_from(leases.join(trials, trials.c.trial_id == leases.c.trial_id))
        .where(leases.c.study_id == study_id, leases.c.ended.is_(None))
        .where(trials.c.state == TrialState.RUNNING)
    )
    waiting = (
        select(func.count())
        .select_from(trials)
        .where(trials.c.study_id == study_id, trials.c.state == TrialState.WAITING)
        .where(exists().where(reports.c.trial_id == trials.c.trial_id))
    )
    begun = connection.execute(running).scalar_one() + connection.execute(waiting).scalar_one()
    return count_finished(connection, study_id) + begun


def count_finished(connection: Connection, study_id: int) -> int:
    """Return how many trials count towards the budget."""
    return connection.execute(
        select(func.count())
        .select_from(trials)
        .where(trials.c.study_id == study_id, trials.c.state.in_(FINISHED))
    ).scalar_one()


def ended_among(storage: Storage, study_id: int, numbers: Collection[int]) -> list[int]:
    """Return which of some trials, by their numbers, have ended: finished or failed."""
    of_trials = trials.c.study_id == study_id, trials.c.number.in_(numbers)
    ended = trials.c.state.in_((*FINISHED, TrialState.FAIL))
    with storage.reading() as connection:
        return list(connection.execute(select(trials.c.number).where(*of_trials, ended)).scalars())


def count_finished_trials(storage: Storage, study_id: int) -> int:
    """Return how many trials of a study count towards its budget."""
    with storage.reading() as connection:
        return count_finished(connection, study_id)


def seconds_left(storage: Storage, study_id: int) -> float | None:
    """Return what is left of a budget of time; `None` without one, or before anything has begun."""
    with storage.reading() as connection:
        of_study = studies.c.study_id == study_id
        deadline = connection.execute(select(studies.c.deadline).where(of_study)).scalar()
        return None if deadline is None else float(max(0.0, deadline - now(connection)))


def epochs_left(connection: Connection, study: Row[Any], default: int) -> float:
    """Return what is left of the budgets of epochs and time, in epochs; infinite for no limit.

    What runs is counted as if it had been trained to its end already.

    Args:
        connection: in a transaction that has locked the study.
        study: our row of it.
        default: the epochs of a lease of an older version, which kept none.
    """
    if _time_is_up(connection, study):
        return 0.0
    if study.epochs is None:
        return math.inf
    of_run = or_(leases.c.rung.is_(None), metrics.c.run == leases.c.rung)
    of_trial = and_(
        metrics.c.study_id == study.study_id, metrics.c.trial == trials.c.number, of_run
    )
    held = (
        select(leases.c.epochs, func.count(metrics.c.epoch).label("trained"))
        .select_from(leases)
        .join(trials, trials.c.trial_id == leases.c.trial_id)
        .outerjoin(metrics, of_trial)
        .where(leases.c.study_id == study.study_id, leases.c.ended.is_(None))
        .group_by(leases.c.lease_id, leases.c.epochs)
    )
    # first what runs: so an epoch that is stored in between counts twice, and never not at all
    running = 0
    for row in connection.execute(held):
        epochs = default if row.epochs is None else row.epochs
        running += max(0, epochs - row.trained)
    return float(study.epochs - running - epochs_trained(connection, study.study_id))


def epochs_in_time(connection: Connection, study: Row[Any]) -> float:
    """Return how many epochs one trial trains in what is left of the budget of time, probably.

    The latest runs tell how long an epoch takes (their median, since the lease of one whose worker
    died lasts longer). Infinite without such a budget, and until a run has ended.

    Args:
        connection: in a transaction.
        study: our row of it.
    """
    if study.deadline is None:
        return math.inf
    runs = connection.execute(
        select((leases.c.ended - leases.c.begun) / leases.c.trained)
        .where(leases.c.study_id == study.study_id)
        .where(leases.c.ended.is_not(None), leases.c.trained > 0)
        .order_by(leases.c.lease_id.desc())
        .limit(LATEST_RUNS)
    )
    seconds = median([*runs.scalars()] or [0.0])
    return (study.deadline - now(connection)) / seconds if seconds > 0 else math.inf


def _time_is_up(connection: Connection, study: Row[Any]) -> bool:
    """Return whether the budget of time is used up, which counts from here if not yet."""
    if study.seconds is None:
        return False
    time = now(connection)
    if study.deadline is not None:
        return bool(time >= study.deadline)
    of_study = studies.c.study_id == study.study_id
    connection.execute(update(studies).where(of_study).values(deadline=time + study.seconds))
    return False
