"""A worker: claim a trial, train it, finish it, repeat."""

from __future__ import annotations

import logging
from contextlib import suppress

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.devices import out_of_memory, prepare_torch
from lrsearch.errors import LrsearchError
from lrsearch.storage import (
    Lease,
    LeaseLost,
    Nothing,
    Worker,
    open_storage,
    reason_of,
    storage_errors,
)
from lrsearch.study import open_study
from lrsearch.worker.heartbeat import Heartbeat
from lrsearch.worker.leased import LeasedTrials
from lrsearch.worker.pack_size import pack_size
from lrsearch.worker.packed import STORAGE_FAILURES, PackedTrials
from lrsearch.worker.signals import Interrupted, Signals

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two looks for work while other workers train what is left of the budget."""
RETRIES = 10
"""How often in a row a worker tries again when its storage fails, the pause doubling up to 30 s."""


def work(
    url: str,
    name: str | None,
    device: str,
    *,
    pack: int | None = 1,
    parent: int | None = None,
) -> Nothing | None:
    """Work on a study until its budget is used up, it is stopped, or a signal comes.

    Args:
        url: the storage.
        name: the study; may be left out where the storage has only one.
        device: a torch device, "cpu" or "cuda".
        pack: how many trials train together; `None` for what suits the device.
        parent: leave when this process, the launcher, is gone.

    Returns:
        Why there is nothing left to do; `None` after a signal.

    Raises:
        StorageError: if the storage cannot be used, also after some tries.
        StudyError: if there is no such study.
    """
    signals = Signals()
    with signals.installed():
        prepare_torch(device)
        storage = open_storage(url, create=False)
        study = open_study(storage, name)
        limits = study.spec.workers
        worker = Worker(storage, study.study_id, device, limits.lease, limits.max_failures)
        heartbeat = Heartbeat(worker, parent)
        trials = LeasedTrials(study, worker.worker_id, device, signals.advance)
        heartbeat.start()
        try:
            size = pack_size(trials, pack)
            packs = PackedTrials(
                trials,
                size,
                signals.advance,
                signals.check,
                ended=lambda lease: worker.end(lease, failed=False),
            )
            with storage_errors(storage.engine.url):
                return _loop(worker, heartbeat, packs, signals)
        except Interrupted:
            return None
        finally:
            heartbeat.stop()
            with suppress(SQLAlchemyError):
                worker.leave()


def _loop(worker: Worker, heartbeat: Heartbeat, packs: PackedTrials, signals: Signals) -> Nothing:
    """Claim and train until there is nothing left; wait where the storage fails for a while."""
    failures = 0
    while True:
        signals.check()
        leases: list[Lease] = []
        try:
            nothing = _claim(worker, max(1, packs.size), leases)
            if leases:
                _train(leases, worker, heartbeat, packs)
            elif nothing is Nothing.WAIT:
                signals.sleep(POLL)
            elif nothing:
                return nothing
            failures = 0
        except (SQLAlchemyError, StorageInternalError) as error:
            failures += 1
            if failures > RETRIES:
                raise
            pause = min(30.0, 0.5 * 2**failures)
            log.warning("the storage fails, trying again in %.0f s: %s", pause, reason_of(error))
            signals.sleep(pause)


def _claim(worker: Worker, size: int, leases: list[Lease]) -> Nothing | None:
    """Add up to so many leases; return why there are no more."""
    while len(leases) < size:
        claim = worker.claim(leases)
        if not isinstance(claim, Lease):
            return claim
        leases.append(claim)
    return None


def _train(leases: list[Lease], worker: Worker, heartbeat: Heartbeat, packs: PackedTrials) -> None:
    """Train the leased trials, together where there are several, and end or hand back each."""
    log.info("trials %s begin or go on", ", ".join(str(lease.number) for lease in leases))
    try:
        with heartbeat.renewing(leases):
            for lease in packs.train(leases):
                try:
                    worker.end(lease, failed=_fails(lease, packs.trials))
                except LeaseLost:
                    log.warning("trial %d was taken over, or ended by hand", lease.number)
    except Interrupted:
        for lease in leases:
            worker.hand_back(lease)
        log.info("handed back what was in hand")
        raise


def _fails(lease: Lease, trials: LeasedTrials) -> bool:
    """Train the leased trial; store what the task raised, and return whether it did."""
    try:
        trials.train(lease)
    except (LeaseLost, *STORAGE_FAILURES):
        raise
    except Exception as error:
        message = _in_words(error)
        log.exception("trial %d failed: %s", lease.number, message)
        trials.fail(lease, message)
        return True
    log.info("trial %d has ended", lease.number)
    return False


def _in_words(error: Exception) -> str:
    """Return what a trial failed by, with advice where the device ran out of memory."""
    if out_of_memory(error):
        return f"out of memory: {error}; lower task.batch_size, or start fewer workers per device"
    return str(error) if isinstance(error, LrsearchError) else f"{type(error).__name__}: {error}"
