"""A worker: claim trials, train them, repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from lrsearch.errors import RankLostError, StorageError
from lrsearch.storage import (
    DATABASE_ERRORS,
    Lease,
    NoTrialReason,
    TrialQueue,
    is_disconnect,
    open_storage,
    reason_of,
    storage_errors,
)
from lrsearch.study import Study, check_vouched, open_study
from lrsearch.tasks import Task, check_devices, devices_of, prepare_torch
from lrsearch.worker.callbacks import Callbacks, Factory
from lrsearch.worker.grouping import choose_grouping
from lrsearch.worker.heartbeat import Heartbeat
from lrsearch.worker.plan import plan_of
from lrsearch.worker.signals import Interrupted, Signals
from lrsearch.worker.study_tasks import StudyTasks
from lrsearch.worker.trainer import Trainer

_T = TypeVar("_T")

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
    task: Task | None = None,
    callbacks: Sequence[Factory] = (),
    trusted: bool = True,
) -> NoTrialReason | None:
    """Work on a study until its budget is used up, it is stopped, or a signal comes.

    Args:
        url: the storage.
        name: the study; may be left out where the storage has only one.
        device: a torch device, "cpu" or "cuda"; or all that train each trial, as "cuda:0,cuda:1".
        pack: how many trials train together; `None` for what suits the device.
        parent: leave when this process, the launcher, is gone.
        task: the study's task, of a study that only this process can train. torch's settings
            (threads, deterministic algorithms) then stay as the process has them.
        callbacks: make what is told of the search, besides those that the study names.
        trusted: whether the code that the study names may be run unless this user made the study;
            whoever starts a worker answers for it.

    Returns:
        Why there is nothing left to do; `None` after a signal.

    Raises:
        StorageError: if the storage cannot be used, also after some tries.
        StudyError: if there is no such study, or its code is not to be run here.
        TaskError: if the task, or a callback, cannot be had, or trains on one device alone.
        RankLostError: if a process that trains together with this one has died; then others take
            over its trials.
    """
    signals = Signals(may_exit=task is None)
    with signals.installed():
        if task is None:
            prepare_torch(device)
        try:
            with storage_errors(url):
                opening = partial(_open, url, name)
                study, target = _retrying(opening, signals, began=False)
            if not trusted:
                check_vouched(study)
            tasks = StudyTasks(study.spec, study.rungs, task)
            if len(devices_of(device)) > 1:
                check_devices(tasks.task(study.spec.task_options()), device)
            listeners = Callbacks.of(study, callbacks)
            with storage_errors(url):
                queue = _retrying(partial(_join, study, device), signals)
        except Interrupted:
            return None
        limit = study.spec.workers.epoch_limit
        heartbeat = Heartbeat(queue, parent, limit if signals.may_exit else None)
        heartbeat.start()
        try:
            trainer = Trainer(
                study,
                tasks,
                device,
                choose_grouping(tasks, target, device, pack),
                next_progress=heartbeat.timed(signals.next_progress),
                check=signals.check,
                on_pause=queue.pause,
                on_end=lambda lease, failed: queue.end(lease, failed=failed),
                callbacks=listeners,
            )
            with storage_errors(url):
                return _loop(queue, heartbeat, trainer, signals)
        except Interrupted:
            return None
        finally:
            heartbeat.stop()
            listeners.close()
            with suppress(*DATABASE_ERRORS):
                queue.leave()


def _loop(
    queue: TrialQueue, heartbeat: Heartbeat, trainer: Trainer, signals: Signals
) -> NoTrialReason:
    """Claim and train until there is nothing left."""

    def step() -> NoTrialReason | None:
        trainer.sweep()
        leases: list[Lease] = []
        reason = _claim(queue, trainer.grouping.size, leases)
        if leases:
            _train(leases, queue, heartbeat, trainer)
            return None
        return reason

    while True:
        reason = _retrying(step, signals)
        if reason is NoTrialReason.WAIT:
            signals.sleep(POLL)
        elif reason:
            return reason


def _retrying(act: Callable[[], _T], signals: Signals, *, began: bool = True) -> _T:
    """Act; where the storage fails, wait for a while and act again.

    Where nothing has begun yet, a storage that never answered is more likely a mistake.
    """
    failures = 0
    while True:
        signals.check()
        try:
            return act()
        except (*DATABASE_ERRORS, StorageError) as error:
            began = began or is_disconnect(error)
            failures += 1
            failed = isinstance(error, DATABASE_ERRORS) or isinstance(
                error.__cause__, DATABASE_ERRORS
            )
            if not (began and failed):
                raise
            if failures > RETRIES:
                log.error("the storage has failed %d times in a row: giving up", failures)
                raise
            pause = min(30.0, 0.5 * 2**failures)
            log.warning("the storage fails, trying again in %.0f s: %s", pause, reason_of(error))
            signals.sleep(pause)


def _open(url: str, name: str | None) -> tuple[Study, int]:
    """Open a study; return it, and its budget of trials."""
    study = open_study(open_storage(url, create=False), name)
    return study, study.target


def _join(study: Study, device: str) -> TrialQueue:
    """Return what gives out the trials of a study."""
    limits = study.spec.workers
    first, *others = devices_of(device)
    return TrialQueue(
        study.storage,
        study.study_id,
        f"{1 + len(others)} x {first.partition(':')[0]}" if others else device,
        limits.lease,
        limits.max_failures,
        plan_of(study),
        epochs=sum(rung.epochs for rung in study.rungs),
    )


def _claim(queue: TrialQueue, size: int, leases: list[Lease]) -> NoTrialReason | None:
    """Add up to so many leases; return why there are no more."""
    while len(leases) < size:
        claim = queue.claim(leases)
        if not isinstance(claim, Lease):
            return claim
        leases.append(claim)
    return None


def _train(leases: list[Lease], queue: TrialQueue, heartbeat: Heartbeat, trainer: Trainer) -> None:
    """Train the leased trials; hand back what is left of them where the worker is to leave."""
    log.info("trials %s begin or go on", ", ".join(str(lease.number) for lease in leases))
    try:
        with heartbeat.renewing(leases):
            trainer.train(leases)
    except Interrupted:
        for lease in leases:
            queue.hand_back(lease)
        log.info("handed back the trials that were in training")
        raise
    except RankLostError:
        queue.give_up(leases)  # as if this process had died with the other
        raise
