"""Leases: which worker holds which trial, until when.

A running trial has one open lease. Only its holder may write to the trial: `Lease.check` begins
each of its transactions and renews the lease. A worker that was only slow, and whose trial was
taken over, notices that before it writes, and leaves the trial alone.

A lease ends by what has passed, not by what a clock that somebody may set says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, text, update

from lrsearch.storage.optuna_private import trials
from lrsearch.storage.tables import leases

HANDED_BACK = 0.0
"""When a lease expires that its holder has given back."""
DIED = -1.0
"""When a lease expires whose holder is known to be dead."""
LIVING = 300.0
"""Seconds that a lease in SQLite outlasts its end where the holder's process lives: it is slow."""
END = -1
"""In place of a rung: the trial has waited to go on, and is to end."""


_RENEW = (
    update(leases)
    .where(leases.c.lease_id == bindparam("lease"), leases.c.worker_id == bindparam("worker"))
    .where(leases.c.ended.is_(None), leases.c.expires > HANDED_BACK)
    .where(
        exists().where(
            trials.c.trial_id == bindparam("trial"), trials.c.state == TrialState.RUNNING
        )
    )
    .values(expires=bindparam("until"))
)
"""Built once, since it begins every transaction of a worker's."""


class LeaseLost(Exception):  # noqa: N818 (not an error: a worker leaves quietly)
    """The trial is no longer its worker's to train: nothing of it may be written any more."""


@dataclass(frozen=True)
class Lease:
    """A worker's right to one trial, for `seconds` from the last time it renewed.

    Where trials climb rungs, `rung` is the index of the one to train, or `END`. `crashes` is how
    many workers have died with the trial since it last trained an epoch.
    """

    lease_id: int
    trial_id: int
    number: int
    worker_id: str
    seconds: float
    rung: int | None = None
    crashes: int = 0

    def check(self, connection: Connection) -> None:
        """Renew, as the first statement of a transaction that writes to the trial.

        Raises:
            LeaseLost: if the trial was handed back, taken over, finished or deleted meanwhile.
        """
        mine = {"lease": self.lease_id, "worker": self.worker_id, "trial": self.trial_id}
        until = lease_clock(connection) + self.seconds
        renewed = connection.execute(_RENEW, mine | {"until": until})
        if renewed.rowcount == 0:
            raise LeaseLost(f"trial {self.number}")

    def is_open(self) -> ColumnElement[bool]:
        """Return the condition on its row: still this worker's, also if ids have begun anew."""
        return and_(
            leases.c.lease_id == self.lease_id,
            leases.c.worker_id == self.worker_id,
            leases.c.ended.is_(None),
        )


def end_lease(connection: Connection, which: ColumnElement[bool]) -> bool:
    """End a lease if it is still open; return whether it was."""
    ended = connection.execute(
        update(leases).where(which, leases.c.ended.is_(None)).values(ended=now(connection))
    )
    return ended.rowcount == 1


def now(connection: Connection) -> float:
    """Return the time that all workers share, in seconds: the server's, or this machine's."""
    if connection.dialect.name == "sqlite":
        return time.time()
    clock = text("SELECT extract(epoch FROM clock_timestamp())")
    return float(connection.execute(clock).scalar_one())


def lease_clock(connection: Connection) -> float:
    """Return the time by which leases expire, in seconds: the server's, or since this boot.

    After another boot it begins anew, and a server's may be set: a lease that has longer left than
    any is given has its full time from when that is seen.
    """
    if connection.dialect.name == "sqlite":
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return now(connection)
