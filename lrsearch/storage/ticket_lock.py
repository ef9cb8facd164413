"""A ticket lock for writers of one file: who comes first is served first, as at a counter.

SQLite has no queue. A writer that finds its file locked sleeps, up to 100 ms, and looks again; when
there are many, some pass again and again while others wait for seconds. Here a writer draws a
number and begins when those before it are done.

All of this is advice: SQLite's own lock protects the data. So nothing here is locked (two who draw
the same number at once merely go at once), a program that knows nothing of it may write as well
(optuna-dashboard), and who is ahead and does not move, since it was killed or stopped, is passed
over after a second. Numbers that make no sense are ignored, and the count begins anew.
"""

from __future__ import annotations

import os
import time

SECONDS_PER_LOOK = 0.00025
"""Seconds from one look at the counter to the next, for each writer who is ahead."""
STALLED_AFTER = 1.0
"""Seconds without a move after which a writer waits no longer for those ahead."""
MAX_AHEAD = 10_000
"""Writers that may be ahead; a count of more is nonsense."""
MAX_NUMBER = 2**62
"""The greatest number drawn; a greater one is nonsense."""
MAX_SLEEP = 0.05
"""Seconds that a writer sleeps at most before it looks again, also at whether it is to leave."""

_DRAWN, _DONE = 0, 8
"""Where the file has the last number drawn and the last one done."""


class TicketLock:
    """One writer's ticket: drawn when made; `wait` until its number is called, then `end` it.

    Args:
        path: the file with the counter; made if it is not there.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        drawn, done = self._read(_DRAWN), self._read(_DONE)
        if done > MAX_NUMBER:
            self._number = drawn = done = 0
            self._write(_DONE)
        self._number = 1 + (max(drawn, done) if drawn - done <= MAX_AHEAD else done)
        self._write(_DRAWN)

    def wait(self) -> None:
        """Wait until all who drew before are done, or nobody has moved for a while."""
        done, moved = self._read(_DONE), time.monotonic()
        while (ahead := self._number - 1 - done) > 0 and time.monotonic() - moved < STALLED_AFTER:
            time.sleep(min(MAX_SLEEP, ahead * SECONDS_PER_LOOK))
            if (now := self._read(_DONE)) != done:
                done, moved = now, time.monotonic()

    def end(self) -> None:
        """Let the next one write."""
        if self._number > self._read(_DONE):
            self._write(_DONE)
        os.close(self._file)

    def _read(self, place: int) -> int:
        return int.from_bytes(os.pread(self._file, 8, place), "big")

    def _write(self, place: int) -> None:
        os.pwrite(self._file, self._number.to_bytes(8, "big"), place)
