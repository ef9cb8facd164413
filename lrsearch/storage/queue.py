"""Claims: how trials are given out. The budget is exact because claims are.

A claim is one transaction that locks the study and gives out at most one trial: first the claimer's
own, then one whose holder has died or whose lease has run out, then, while finished and running
trials are fewer than the budget, a waiting one or a new one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from optuna.trial import TrialState
from sqlalchemy import Connection, Row, and_, exists, func, insert, select, update

from lrsearch.errors import StudyError
from lrsearch.storage.begun import BegunTrial, BegunTrials
from lrsearch.storage.budget import count_finished, epochs_in_time, epochs_left, lock_study
from lrsearch.storage.leases import (
    DIED,
    HANDED_BACK,
    LIVING,
    Lease,
    LeaseLost,
    end_lease,
    lease_clock,
    now,
)
from lrsearch.storage.optuna_private import reports, trials
from lrsearch.storage.optuna_private import studies as optuna_studies
from lrsearch.storage.processes import is_alive, process_mark
from lrsearch.storage.seals import break_seal, seal_trial
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import leases, studies, workers


class NoTrialReason(Enum):
    """Why a claim gave out no trial."""

    DONE = "the budget is used up"
    WAIT = "what is left of the budget is being trained"
    STOPPED = "the study is to stop"
    FAILING = "too many trials in a row have failed"


class Step(NamedTuple):
    """What a claim gives out: a trial (`None`: a new one), its rung or `END`, and its epochs."""

    number: int | None
    rung: int | None
    epochs: int | None


class Plan(Protocol):
    """What decides which trial goes on, where trials climb rungs and wait in between."""

    def step(
        self,
        trials: Sequence[BegunTrial],
        *,
        may_begin: bool,
        epochs_left: float,
        epochs_in_time: float,
    ) -> Step | None:
        """Return what to give out next; `None` if all that is left to do is being done.

        Args:
            trials: all that have begun.
            may_begin: whether the budget allows another trial.
            epochs_left: what is left of a budget of epochs; 0 where the time is up.
            epochs_in_time: how many one trial trains before the time is up, probably.
        """
        ...

    def due(self, trial: BegunTrial) -> Step:
        """Return what a trial trains that was given out before rungs were kept with leases."""
        ...


class TrialQueue:
    """The trials of a study as one worker takes them: it claims them, keeps its leases, ends them.

    Args:
        storage: where the study is.
        study_id: Optuna's id of the study.
        device: what it trains on, for people to read.
        seconds: how long a lease lasts without a sign of life.
        max_failures: failed trials in a row after which nothing is given out any more.
        plan: decides which trial goes on where trials climb rungs; else each is trained to its end.
        epochs: how many a trial takes then, at most.
    """

    def __init__(
        self,
        storage: Storage,
        study_id: int,
        device: str,
        seconds: float,
        max_failures: int,
        plan: Plan | None = None,
        epochs: int = 0,
    ) -> None:
        self.epochs = epochs
        self.plan = plan
        self.storage = storage
        self.study_id = study_id
        self.seconds = seconds
        self.max_failures = max_failures
        self._begun = BegunTrials(study_id)
        self.worker_id = f"{socket.gethostname()[:48]}-{os.getpid()}-{uuid4().hex[:6]}"
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
                    process=process_mark(os.getpid()),
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
            study = self._study(connection)
            if study.stopping:
                return NoTrialReason.STOPPED
            if study.failures >= self.max_failures:
                return NoTrialReason.FAILING
            own = {lease.lease_id for lease in holding}
            running = 0
            for lease in self._open_leases(connection):
                if lease.lease_id in own:
                    running += 1
                elif lease.state.is_finished():  # its worker died between finishing and ending it
                    end_lease(connection, leases.c.lease_id == lease.lease_id)
                elif self._take_over(connection, lease):
                    due = self._due(connection, lease)
                    crashes = self._crashes(connection, lease)
                    return self._lease(connection, lease.trial_id, lease.number, due, crashes)
                else:
                    running += 1
            step = self._next_step(connection, study, running)
            if step is None:
                return NoTrialReason.WAIT if running else NoTrialReason.DONE
            if step.number is None:
                return self._enqueued(connection, step) or self._new(connection, step)
            return self._resume(connection, step)

    def end(self, lease: Lease, *, failed: bool) -> None:
        """End the lease on a trial that has finished or failed."""
        with self.storage.engine.begin() as connection:
            end_lease(connection, lease.is_open())
            failures = studies.c.failures + 1 if failed else 0
            connection.execute(
                update(studies).where(studies.c.study_id == self.study_id).values(failures=failures)
            )

    def pause(self, lease: Lease) -> None:
        """Let a trial wait until it is to go on or to end; its lease ends."""
        with self.storage.engine.begin() as connection:
            lease.check(connection)
            of_trial = trials.c.trial_id == lease.trial_id
            connection.execute(update(trials).where(of_trial).values(state=TrialState.WAITING))
            end_lease(connection, lease.is_open())
            seal_trial(connection, lease.trial_id)
            of_study = studies.c.study_id == self.study_id
            connection.execute(update(studies).where(of_study).values(failures=0))

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

    def give_up(self, holding: Collection[Lease]) -> None:
        """Let others take over at once, as if this worker had died."""
        with self.storage.engine.begin() as connection:
            for lease in holding:
                connection.execute(update(leases).where(lease.is_open()).values(expires=DIED))

    def leave(self) -> None:
        """Say that the worker has gone."""
        with self.storage.engine.begin() as connection:
            connection.execute(
                update(workers)
                .where(workers.c.worker_id == self.worker_id)
                .values(ended=now(connection), last_seen=now(connection))
            )

    def _study(self, connection: Connection) -> Row[Any]:
        """Return our row of the study that this worker joined."""
        study = connection.execute(
            select(studies)
            .join(optuna_studies, optuna_studies.c.study_id == studies.c.study_id)
            .join(workers, workers.c.study_id == studies.c.study_id)
            .where(studies.c.study_id == self.study_id, workers.c.worker_id == self.worker_id)
        ).first()
        if study is None:
            raise StudyError("the study was deleted while its workers ran")
        return study

    def _open_leases(self, connection: Connection) -> Sequence[Row[Any]]:
        """Return the leases that have not ended, this worker's own first, by trial."""
        return connection.execute(
            select(
                leases,
                *(trials.c.number, trials.c.state),
                *(workers.c.host, workers.c.pid, workers.c.process),
            )
            .join(trials, trials.c.trial_id == leases.c.trial_id)
            .join(workers, workers.c.worker_id == leases.c.worker_id)
            .where(leases.c.study_id == self.study_id, leases.c.ended.is_(None))
            .order_by(leases.c.worker_id != self.worker_id, trials.c.number)
        ).all()

    def _next_step(self, connection: Connection, study: Row[Any], running: int) -> Step | None:
        """Return what to give out within the budgets; `None` if there is nothing."""
        left = epochs_left(connection, study, default=self.epochs)
        if self.plan is None:
            finished = count_finished(connection, self.study_id)
            within = finished + running < study.target and left >= max(1, self.epochs)
            return Step(None, None, self.epochs) if within else None
        begun = self._begun.read(connection)
        may_begin = len(begun) < study.target
        in_time = epochs_in_time(connection, study)
        return self.plan.step(begun, may_begin=may_begin, epochs_left=left, epochs_in_time=in_time)

    def _due(self, connection: Connection, lease: Row[Any]) -> Step:
        """Return what a trial that is taken over goes on with."""
        if self.plan is None or lease.rung is not None:
            return Step(lease.number, lease.rung, lease.epochs)
        begun = {trial.number: trial for trial in self._begun.read(connection)}
        return self.plan.due(begun[lease.number])

    def _crashes(self, connection: Connection, lease: Row[Any]) -> int:
        """Return how many workers have died with a trial since it last trained a new epoch."""
        of_trial = and_(leases.c.trial_id == lease.trial_id, leases.c.study_id == self.study_id)
        last = select(func.coalesce(func.max(leases.c.lease_id), 0)).where(
            of_trial, leases.c.trained > 0
        )
        died = (
            select(func.count())
            .select_from(leases)
            .where(of_trial, leases.c.lease_id > last.scalar_subquery())
            .where(leases.c.expires != HANDED_BACK)
        )
        return int(connection.execute(died).scalar_one())

    def _enqueued(self, connection: Connection, step: Step) -> Lease | None:
        waiting = connection.execute(
            select(trials.c.trial_id, trials.c.number)
            .where(trials.c.study_id == self.study_id, trials.c.state == TrialState.WAITING)
            .where(~exists().where(reports.c.trial_id == trials.c.trial_id))
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
        return self._lease(connection, waiting.trial_id, waiting.number, step)

    def _resume(self, connection: Connection, step: Step) -> Lease:
        of_trial = and_(trials.c.study_id == self.study_id, trials.c.number == step.number)
        trial_id = connection.execute(select(trials.c.trial_id).where(of_trial)).scalar_one()
        connection.execute(update(trials).where(of_trial).values(state=TrialState.RUNNING))
        assert step.number is not None
        break_seal(connection, self.study_id, step.number)
        return self._lease(connection, trial_id, step.number, step)

    def _new(self, connection: Connection, step: Step) -> Lease:
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
        return self._lease(connection, trial_id, number, step)

    def _lease(
        self, connection: Connection, trial_id: int, number: int, step: Step, crashes: int = 0
    ) -> Lease:
        begun = now(connection)
        row = insert(leases).values(
            study_id=self.study_id,
            trial_id=trial_id,
            worker_id=self.worker_id,
            begun=begun,
            expires=lease_clock(connection) + self.seconds,
            rung=step.rung,
            epochs=step.epochs,
        )
        lease_id = connection.execute(row.returning(leases.c.lease_id)).scalar_one()
        return Lease(lease_id, trial_id, number, self.worker_id, self.seconds, step.rung, crashes)

    def _take_over(self, connection: Connection, lease: Row[Any]) -> bool:
        """End a lease that is free, as of now; return whether it is."""
        of_lease = leases.c.lease_id == lease.lease_id
        if lease.worker_id == self.worker_id:  # it did not die, its storage failed
            connection.execute(update(leases).where(of_lease).values(expires=HANDED_BACK))
            return end_lease(connection, of_lease)
        if lease.expires <= HANDED_BACK:
            return end_lease(connection, of_lease)
        alive = is_alive(lease.host, lease.pid, lease.process)
        if alive is False:
            connection.execute(update(leases).where(of_lease).values(expires=DIED))
            return end_lease(connection, of_lease)
        time = lease_clock(connection)
        if not lease.expires <= time + self.seconds:  # the clock has begun anew, or was set back
            expires = time + self.seconds
            connection.execute(update(leases).where(of_lease).values(expires=expires))
            return False
        # beyond one machine a process may live, and its network not
        slow = alive and connection.dialect.name == "sqlite"
        over = leases.c.expires <= time - (LIVING if slow else 0.0)
        return end_lease(connection, and_(of_lease, over))


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
