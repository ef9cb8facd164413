"""A launcher: starts the workers of a study, restarts those that crash, takes them down with it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lrsearch.errors import StudyError
from lrsearch.storage import (
    DATABASE_ERRORS,
    count_epochs_of,
    current_time,
    leave_soon,
    reason_of,
)
from lrsearch.study import Study, why_stopped
from lrsearch.tasks import check_importable
from lrsearch.worker.checkpoints import Checkpoints
from lrsearch.worker.placement import PlacedWorker, Placement

log = logging.getLogger(__name__)

GRACE = 30.0
"""Seconds that workers have to leave when the launcher is asked to, before they are killed."""
FAILING = 3
"""The exit status of a worker that found too many trials in a row failed."""
RANK_LOST = 5
"""The exit status of a worker that lost a process which trained together with it: a crash."""


class Supervised:
    """A place for a worker, whom it has now, and how often that was started again.

    Args:
        study: the study it works on.
        place: its number.
    """

    def __init__(self, study: Study, place: int) -> None:
        self.study = study
        self.place = place
        self.restarts = 0
        self.started = 0.0
        self.next_start = 0.0
        self.status: int | None = None
        """How the worker has ended, for good."""
        self.worker: PlacedWorker | None = None

    def look(self, leaving: bool) -> None:
        """See whether the worker has ended, and whether it is to be started again."""
        if self.status is not None:
            return
        status = 0 if self.worker is None and leaving else self.poll()
        if status is None:
            return
        if status in (0, FAILING) or leaving:
            self.status = status
            return
        # restarts count only where no new epoch was trained: a preempted worker is no crash
        self.restarts = 1 if self._count_epochs() else self.restarts + 1
        if self.restarts > self.study.spec.workers.max_restarts:
            self.status = status
            return
        self.next_start = time.monotonic() + min(30.0, 2.0 ** (self.restarts - 1) - 1)
        self.worker = None

    def send(self, number: int) -> None:
        """Send its worker a signal, if it has not ended."""
        if self.worker is not None and self.running:
            self.worker.send(number)

    def poll(self) -> int | None:
        """Return the exit status of its worker; `None` while there is none, or it has not ended."""
        return self.worker.poll() if self.worker else None

    @property
    def due(self) -> bool:
        """Whether its worker is to be started, or started again, now."""
        over = self.status is not None
        return not over and self.worker is None and time.monotonic() >= self.next_start

    @property
    def waiting(self) -> bool:
        """Whether there is no room for its worker yet."""
        return self.status is None and self.worker is not None and self.worker.waiting

    @property
    def running(self) -> bool:
        """Whether its worker lives, or waits."""
        return self.worker is not None and self.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether its worker has ended in a crash, for good."""
        return self.status not in (None, 0, FAILING)

    def _count_epochs(self) -> int:
        """Return how many epochs the dead process was the first to train."""
        process = self.worker.process if self.worker else None
        if process is None:
            return 0
        study = self.study
        return count_epochs_of(study.storage, study.study_id, *process, self.started)


class Crew:
    """The workers of a study: as many as their placement wants, each started again if it crashes.

    Args:
        study: the study.
        url: its storage.
        placement: where they run.
    """

    def __init__(self, study: Study, url: str, placement: Placement) -> None:
        self.study = study
        self.url = url
        self.placement = placement
        self.places: list[Supervised] = []

    def supervise(self, leaving: bool) -> bool:
        """Look after all of them once; return whether any is left."""
        for place in self.places:
            place.look(leaving)
        if not leaving:
            self._fit()
            self._start([place for place in self.places if place.due])
        return any(place.status is None for place in self.places)

    def send(self, number: int) -> None:
        """Send a signal to all that have not ended."""
        for place in self.places:
            place.send(number)

    @property
    def running(self) -> bool:
        """Whether any has not ended."""
        return any(place.running for place in self.places)

    def _fit(self) -> None:
        """Have as many as there are to be; once one has left, no more begin."""
        left = any(place.status in (0, FAILING) for place in self.places)
        wanted = 0 if left else self.placement.wanted(self.study)
        spare = sum(place.status is None for place in self.places) - wanted
        for place in [place for place in reversed(self.places) if place.waiting][: max(0, spare)]:
            place.send(signal.SIGTERM)
            self.places.remove(place)
        first = max((place.place for place in self.places), default=-1) + 1
        more = max(0, wanted - len(self.places))
        self.places += [Supervised(self.study, place) for place in range(first, first + more)]

    def _start(self, places: list[Supervised]) -> None:
        if not places:
            return
        started = current_time(self.study.storage)
        workers = self.placement.start(self.study, self.url, [place.place for place in places])
        for place, worker in zip(places, workers, strict=True):
            place.worker, place.started = worker, started


def run_workers(
    study: Study, url: str, placement: Placement, show: Callable[[str], Any] = lambda where: None
) -> bool:
    """Work on a study with the workers of a placement until there is nothing left to do.

    Args:
        study: the study.
        url: its storage.
        placement: where the workers run; it stays open.
        show: called about twice a second, with where they are.

    Returns:
        Whether the workers came to an end by themselves; `False` after SIGINT or SIGTERM.

    Raises:
        StorageError: if nothing here can use the URL that is to hold checkpoints.
        StudyError: if too many trials in a row failed, or every worker crashed.
        TaskError: if no worker could import the study's task.
        PlacementError: if workers cannot be started there.
    """
    check_importable(study.spec.task.run)
    Checkpoints(study.checkpoints)  # a URL that no worker could use is refused before they start
    crew = Crew(study, url, placement)
    with _signals(crew) as leaving:
        going, failure = True, ""
        try:
            while going:
                try:
                    going = crew.supervise(bool(leaving))
                    show(placement.summary())
                    failure = ""
                except DATABASE_ERRORS as error:
                    if not crew.running:
                        raise
                    # while a worker lives, it waits for the storage to come back
                    if failure != (failure := reason_of(error)):
                        log.warning("the storage fails: %s", failure)
                time.sleep(0.5)
                if leaving:
                    late = time.monotonic() - leaving[0] > GRACE
                    crew.send(signal.SIGKILL if late else signal.SIGTERM)
        finally:
            crew.send(signal.SIGTERM)
    if leaving:
        return False
    _check(study, crew.places)
    return True


def _check(study: Study, places: list[Supervised]) -> None:
    """Say why workers gave up, if they did."""
    if any(place.status == FAILING for place in places):
        raise StudyError(
            f"{why_stopped(study)}. Mend that and launch again; logs: {study.files / 'logs'}"
        )
    crashed = [place.worker for place in places if place.crashed and place.worker]
    if crashed and len(crashed) == len(places):
        said = crashed[0].log
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
        raise StudyError(
            f"every worker crashed {study.spec.workers.max_restarts + 1} times; "
            f"the last line of {said}: {lines[-1] if lines else 'nothing'}"
        )


@contextmanager
def _signals(crew: Crew) -> Iterator[list[float]]:
    """Have SIGINT and SIGTERM passed on to the workers; a second SIGINT kills them.

    Yields:
        A list that holds the time of the first signal once it has come.
    """
    leaving: list[float] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if leaving and number == signal.SIGINT:
            crew.send(signal.SIGKILL)
            os._exit(130)
        leaving.append(time.monotonic())
        leave_soon(True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield leaving
    finally:
        leave_soon(False)
        for number, handler in before.items():
            signal.signal(number, handler)
