"""A worker's heartbeat: it renews leases, and notices when the worker is to leave."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lrsearch.storage import Lease, TrialQueue, reason_of

log = logging.getLogger(__name__)

MAX_DRIFT = 5.0
"""Seconds by which a clock that was not set may differ from one beat to the next."""


class Heartbeat(threading.Thread):
    """Renews the lease through long epochs, and notices a stopped study and a dead launcher.

    Either is answered by a SIGTERM to this process, so that there is one way to leave.

    Args:
        queue: the worker's, whose leases are renewed, three times per lease and at least every 5 s.
        parent: the process that the worker must not outlive, if any.
    """

    def __init__(self, queue: TrialQueue, parent: int | None) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.queue = queue
        self.parent = parent
        self._holding: Sequence[Lease] = ()
        self._offset = _clock_offset()
        self._done = threading.Event()

    def run(self) -> None:
        """Beat until `stop`."""
        pause = min(5.0, self.queue.seconds / 3)
        while not self._done.wait(pause):
            self._notice_jump()
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

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self.join()

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
