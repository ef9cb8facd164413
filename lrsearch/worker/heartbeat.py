"""A worker's heartbeat: it renews leases, and notices when the worker is to leave."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar

from lrsearch.storage import DATABASE_ERRORS, Lease, TrialQueue, is_slow, reason_of

log = logging.getLogger(__name__)

MAX_DRIFT = 5.0
"""Seconds by which a clock that was not set may differ from one beat to the next."""
TOO_SLOW = 4
"""The exit status of a worker whose epoch took longer than the study allows."""

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Heartbeat(threading.Thread):
    """Renews the lease through long epochs, and notices a stopped study and a dead launcher.

    Either is answered by a SIGTERM to this process, so that there is one way to leave. An epoch
    beyond `limit` seconds ends it at once, since nothing else may be able to interrupt that.

    Args:
        queue: the worker's, whose leases are renewed, three times per lease and at least every 5 s.
        parent: the process that the worker must not outlive, if any.
        limit: seconds that an epoch may take; none for any.
    """

    def __init__(self, queue: TrialQueue, parent: int | None, limit: float | None = None) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.queue = queue
        self.parent = parent
        self.limit = limit
        self._holding: Sequence[Lease] = ()
        self._epoch_began: float | None = None
        self._epochs: deque[float] = deque(maxlen=100)
        self._warned: float | None = None
        self._offset = _clock_offset()
        self._done = threading.Event()

    def run(self) -> None:
        """Beat until `stop`."""
        pause = min(5.0, self.queue.seconds / 3, self.limit or math.inf)
        while not self._done.wait(pause):
            self._notice_jump()
            self._watch_epoch()
            if self._must_leave():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    @contextmanager
    def renewing(self, holding: Sequence[Lease]) -> Iterator[None]:
        """Renew leases while the block runs."""
        self._holding = holding
        try:
            yield
        finally:
            self._holding = ()

    def timed(self, next_epoch: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return what trains the next epoch, and has it watched meanwhile."""

        def watched(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            self._epoch_began = begun = time.monotonic()
            try:
                return next_epoch(*args, **kwargs)
            finally:
                self._epoch_began = None
                self._epochs.append(time.monotonic() - begun)

        return watched

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self.join()

    def _watch_epoch(self) -> None:
        """Say that an epoch takes long; give up where it takes too long."""
        begun = self._epoch_began
        if begun is None:
            return
        seconds = time.monotonic() - begun
        trials = ", ".join(str(lease.number) for lease in self._holding)
        if self.limit is not None and seconds > self.limit:
            log.error("trials %s: an epoch takes longer than %g s", trials, self.limit)
            with suppress(*DATABASE_ERRORS):
                self.queue.give_up(self._holding)
            os._exit(TOO_SLOW)
        if begun != self._warned and is_slow(seconds, self._epochs):
            self._warned = begun
            log.warning("trials %s: an epoch takes ten times as long as others", trials)

    def _notice_jump(self) -> None:
        """Say that the machine's clock was set, or that it slept: times shown are off then."""
        jump, self._offset = _clock_offset() - self._offset, _clock_offset()
        if abs(jump) > MAX_DRIFT:
            log.warning("this machine's clock has jumped by %+.0f s; leases do not run on it", jump)

    def _must_leave(self) -> bool:
        if self.parent is not None and os.getppid() != self.parent:
            return True
        try:
            return self.queue.seen(self._holding)
        except Exception as error:  # the database may be back at the next beat
            log.warning("cannot renew the lease: %s", reason_of(error))
        return False


def _clock_offset() -> float:
    return time.time() - time.monotonic()
