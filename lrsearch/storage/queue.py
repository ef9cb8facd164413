"""Claims: how trials are given out. The budget is exact because claims are.

A claim is one transaction that locks the study and gives out at most one trial: first the claimer's
own, then one whose lease has run out, then, while finished and running trials are fewer than the
budget, a waiting one or a new one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from uuid import uuid4

from optuna.trial import TrialState
from sqlalchemy import Connection, and_, func, insert, or_, select, update

from lrsearch.errors import StudyError
from lrsearch.storage.engine import Storage
from lrsearch.storage.leases import HANDED_BACK, Lease, LeaseLost, end_lease, now
from lrsearch.storage.optuna_private import studies as optuna_studies
from lrsearch.storage.optuna_private import trials
from lrsearch.storage.tables import leases, studies, workers

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states that count towards the budget."""


class NoTrialReason(Enum):
    """Why a claim gave out no trial."""

    DONE = "the budget is used up"
    WAIT = "what is left of the budget is being trained"
    STOPPED = "the study is to stop"
    FAILING = "too many trials in a row have failed"


class TrialQueue:
    """The trials of a study as one worker takes them: it claims them, keeps its leases, ends them.

    Args:
        storage: where the study is.
        study_id: Optuna's id of the study.
        device: what it trains on, for people to read.
        seconds: how long a lease lasts without a sign of life.
        max_failures: failed trials in a row after which nothing is given out any more.
    """

    def __init__(
        self, storage: Storage, study_id: int, device: str, seconds: float, max_failures: int
    ) -> None:
        self.storage = storage
        self.study_id = study_id
        self.seconds = seconds
        self.max_failures = max_failures
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        with storage.engine.begin() as connection:
            started = now(connection)
            connection.execute(
                insert(workers).values(
                    worker_id=self.worker_id,
                    study_id=study_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    device=device,
                    started=started,
                    last_seen=started,
                    epochs=0,
                )
            )

    def claim(self, holding: Collection[Lease] = ()) -> Lease | NoTrialReason:
        """Take a trial that is free, or say why there is none.

        Args:
            holding: leases that this worker has and keeps; any other of its own is free.

        Raises:
            StudyError: if the study is gone, also where a new one has been given its id.
        """
        with self.storage.engine.begin() as connection:
            lock_study(connection, self.study_id)
            study = connection.execute(
                select(studies)
                .join(optuna_studies, optuna_studies.c.study_id == studies.c.study_id)
                .join(workers, workers.c.study_id == studies.c.study_id)
                .where(studies.c.study_id == self.study_id, workers.c.worker_id == self.worker_id)
            ).first()
            if study is None:
                raise StudyError("the study was deleted while its workers ran")
            if study.stopping:
                return NoTrialReason.STOPPED
            if study.failures >= self.max_failures:
                return NoTrialReason.FAILING
            open_leases = connection.execute(
                select(leases, trials.c.number, trials.c.state)
                .join(trials, trials.c.trial_id == leases.c.trial_id)
                .where(leases.c.study_id == self.study_id, leases.c.ended.is_(None))
                .order_by(leases.c.worker_id != self.worker_id, trials.c.number)
            ).all()
            own = {lease.lease_id for lease in holding}
            running = 0
            for lease in open_leases:
                if lease.lease_id in own:
                    running += 1
                elif lease.state.is_finished():  # its worker died between finishing and ending it
                    end_lease(connection, leases.c.lease_id == lease.lease_id)
                elif self._take_over(connection, lease.lease_id):
                    return self._lease(connection, lease.trial_id, lease.number)
                else:
                    running += 1
            if count_finished(connection, self.study_id) + running >= study.target:
                return NoTrialReason.WAIT if running else NoTrialReason.DONE
            return self._waiting(connection) or self._new(connection)

    def end(self, lease: Lease, *, failed: bool) -> None:
        """End the lease on a trial that has finished or failed."""
        with self.storage.engine.begin() as connection:
            end_lease(connection, lease.is_open())
            failures = studies.c.failures + 1 if failed else 0
            connection.execute(
                update(studies).where(studies.c.study_id == self.study_id).values(failures=failures)
            )

    def hand_back(self, lease: Lease) -> None:
        """Let the next worker take the trial over at once."""
        with self.storage.engine.begin() as connection:
            connection.execute(update(leases).where(lease.is_open()).values(expires=HANDED_BACK))

    def seen(self, holding: Collection[Lease]) -> bool:
        """Say that the worker lives, renew its leases; return whether it is to leave.

        A lease that is lost stays so; who writes next to its trial finds out.
        """
        with self.storage.engine.begin() as connection:
            for lease in holding:  # first, as in all that this worker writes: so none deadlocks
                with suppress(LeaseLost):
                    lease.check(connection)
            connection.execute(
                update(workers)
                .where(workers.c.worker_id == self.worker_id)
                .values(last_seen=now(connection))
            )
            stopping = select(studies.c.stopping).where(studies.c.study_id == self.study_id)
            return bool(connection.execute(stopping).scalar())

    def leave(self) -> None:
        """Say that the worker has gone."""
        with self.storage.engine.begin() as connection:
            connection.execute(
                update(workers)
                .where(workers.c.worker_id == self.worker_id)
                .values(ended=now(connection), last_seen=now(connection))
            )

    def _waiting(self, connection: Connection) -> Lease | None:
        waiting = connection.execute(
            select(trials.c.trial_id, trials.c.number)
            .where(trials.c.study_id == self.study_id, trials.c.state == TrialState.WAITING)
            .order_by(trials.c.trial_id)
            .limit(1)
        ).first()
        if waiting is None:
            return None
        connection.execute(
            update(trials)
            .where(trials.c.trial_id == waiting.trial_id)
            .values(state=TrialState.RUNNING, datetime_start=_utc_now())
        )
        return self._lease(connection, waiting.trial_id, waiting.number)

    def _new(self, connection: Connection) -> Lease:
        last = connection.execute(
            select(trials.c.number)
            .where(trials.c.study_id == self.study_id)
            .order_by(trials.c.trial_id.desc())
            .limit(1)
        ).scalar()
        number = 0 if last is None else last + 1
        row = insert(trials).values(
            study_id=self.study_id,
            number=number,
            state=TrialState.RUNNING,
            datetime_start=_utc_now(),
        )
        trial_id = connection.execute(row.returning(trials.c.trial_id)).scalar_one()
        return self._lease(connection, trial_id, number)

    def _lease(self, connection: Connection, trial_id: int, number: int) -> Lease:
        begun = now(connection)
        row = insert(leases).values(
            study_id=self.study_id,
            trial_id=trial_id,
            worker_id=self.worker_id,
            begun=begun,
            expires=begun + self.seconds,
        )
        lease_id = connection.execute(row.returning(leases.c.lease_id)).scalar_one()
        return Lease(lease_id, trial_id, number, self.worker_id, self.seconds)

    def _take_over(self, connection: Connection, lease_id: int) -> bool:
        """End a lease that is this worker's own or has run out, as of now; return whether it is."""
        free = or_(leases.c.worker_id == self.worker_id, leases.c.expires <= now(connection))
        return end_lease(connection, and_(leases.c.lease_id == lease_id, free))


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
    return count_finished(connection, study_id) + connection.execute(running).scalar_one()


def count_finished(connection: Connection, study_id: int) -> int:
    """Return how many trials count towards the budget."""
    return connection.execute(
        select(func.count())
        .select_from(trials)
        .where(trials.c.study_id == study_id, trials.c.state.in_(FINISHED))
    ).scalar_one()


def count_finished_trials(storage: Storage, study_id: int) -> int:
    """Return how many trials of a study count towards its budget."""
    with storage.reading() as connection:
        return count_finished(connection, study_id)


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
