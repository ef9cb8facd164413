"""Signals: how a worker is asked to leave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from lrsearch.storage import leave_soon

_T = TypeVar("_T")


class Interrupted(BaseException):
    """A signal has asked the worker to leave."""


class Signals:
    """SIGINT and SIGTERM: the first lets go of training at once, a second SIGINT ends the process.

    Elsewhere (in the storage, in a checkpoint) it waits for the next epoch, `sleep` or `check`; a
    storage that does not answer is then given up within seconds.

    Args:
        may_exit: whether the process is the worker's own; else a second SIGINT is a
            `KeyboardInterrupt`.
    """

    def __init__(self, *, may_exit: bool = True) -> None:
        self.may_exit = may_exit
        self.received = False
        self._interruptible = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals while the block runs."""
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            leave_soon(False)
            for number, handler in before.items():
                signal.signal(number, handler)

    def next_progress(self, run: Iterator[_T]) -> _T | None:
        """Take the next epoch of a group of runs; a signal interrupts it."""
        with self._interruptibly():
            return next(run, None)

    def sleep(self, seconds: float) -> None:
        """Sleep; a signal interrupts it."""
        with self._interruptibly():
            time.sleep(seconds)

    def check(self) -> None:
        """Leave if a signal has come.

        Raises:
            Interrupted: if one has.
        """
        if self.received:
            raise Interrupted

    @contextmanager
    def _interruptibly(self) -> Iterator[None]:
        self._interruptible = True
        try:
            self.check()
            yield
        finally:
            self._interruptible = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            if not self.may_exit:
                raise KeyboardInterrupt
            os._exit(130)
        self.received = True
        leave_soon(True)
        if self._interruptible:
            self._interruptible = False
            raise Interrupted


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
