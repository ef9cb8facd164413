"""A worker's heartbeat: it renews leases, and notices when the worker is to leave."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lrsearch.storage import Lease, TrialQueue, reason_of

log = logging.getLogger(__name__)


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
        self._done = threading.Event()

    def run(self) -> None:
        """Beat until `stop`."""
        pause = min(5.0, self.queue.seconds / 3)
        while not self._done.wait(pause):
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

    def _must_leave(self) -> bool:
        if self.parent is not None and os.getppid() != self.parent:
            return True
        try:
            return self.queue.seen(self._holding)
        except Exception as error:  # the database may be back at the next beat
            log.warning("cannot renew the lease: %s", reason_of(error))
        return False
