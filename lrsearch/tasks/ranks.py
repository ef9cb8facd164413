"""The processes that train a run together: started, told, watched and ended by the first of them.

They live and die as one. One that sees the first end, or is told to, ends at once; where one of
the others dies, the first fails with `RankLostError`, and the run can be tried again.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from lrsearch.errors import LrsearchError, RankLostError, TaskError
from lrsearch.tasks.ddp import Rank
from lrsearch.tasks.devices import prepare_torch
from lrsearch.tasks.scheduled import ScheduledTraining
from lrsearch.tasks.training import Training

log = logging.getLogger(__name__)

Prepare = Callable[[str], ScheduledTraining]
"""Gets ready to train on a device: what every process but the first does as it starts."""
NOTICE = 5.0
"""Seconds for the first process to learn what has become of the others."""
GRACE = 30.0
"""Seconds that a process may hang in what a dead one was to answer, before it is ended as well."""
LOOK = 1.0
"""Seconds between two looks whether the others live."""


class Report(NamedTuple):
    """What a process says of itself: what failed, if anything, and when (all share the clock)."""

    time: float
    failure: str | None


class Leader:
    """The first process, and the others that it has started.

    Args:
        devices: one for each process, the first for this one.
        prepare: is pickled, and called in each of the others.

    Raises:
        TaskError: if `prepare` cannot be sent to other processes.
    """

    def __init__(self, devices: Sequence[str], prepare: Prepare) -> None:
        try:
            self._prepare = pickle.dumps(prepare)
        except Exception as error:  # pickle has many
            raise TaskError(
                "a task that trains a trial on several devices must be one that other processes "
                f"can import: {error}; define its model, data, loss and metrics at the top of a "
                "module, as functions with names"
            ) from error
        self._folder = TemporaryDirectory(prefix="lrsearch-")
        meeting = Path(self._folder.name) / "meeting"
        self.rank = Rank(0, len(devices), devices[0], meeting)
        self._others = [
            Other(Rank(number, len(devices), device, meeting))
            for number, device in enumerate(devices[1:], 1)
        ]
        self._training = False
        self._closed = threading.Event()
        atexit.register(self.close)

    def start(self) -> None:
        """Start the others, which get ready meanwhile."""
        with _signals_held_back():
            for other in self._others:
                other.process.start()
                other.theirs.close()
        for other in self._others:
            other.ours.send(self._prepare)
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def join(self, training: Training) -> None:
        """Wait until the others are ready, and train with them from this network's weights on."""
        for other in self._others:
            other.wait_until_ready()
        self._training = True
        training.join(self.rank)
        self._training = False

    @contextmanager
    def epoch(self, number: int) -> Iterator[None]:
        """Have the others train this epoch while the block does."""
        for other in self._others:
            other.ours.send(number)
        self._training = True
        yield
        self._training = False

    def cause(self, error: Exception) -> Exception:
        """Return what an error in this process comes from: a failure of another, or itself."""
        caught = time.monotonic()
        wait([each for other in self._others for each in other.handles], NOTICE)
        failed, died = [], []
        for other in self._others:
            if other.process.pid is not None:
                other.process.join(LOOK / len(self._others))
            if report := other.failure():
                failed += [(report.time, f"{other.name}: {report.failure}")]
            elif status := other.process.exitcode:
                died.append(f"{other.name} {_end(status)}")
        if died:
            return RankLostError(f"of the processes that train together {'; '.join(died)}")
        if failed and min(failed)[0] <= caught:  # what comes later is what this error has caused
            return TaskError(min(failed)[1])
        return error

    def close(self) -> None:
        """End the others; nothing of them is left."""
        self._closed.set()
        atexit.unregister(self.close)
        for other in self._others:
            other.end()
        self.rank.leave()
        self._folder.cleanup()

    def _watch(self) -> None:
        """End this process where it waits for a dead one, which nothing else may interrupt."""
        while not self._closed.wait(LOOK):
            if wait([other.process.sentinel for other in self._others], 0):
                break
        while not self._closed.wait(GRACE):
            if self._training:
                said = [other.failure() for other in self._others]
                reasons = "; ".join(report.failure or "" for report in said if report)
                log.critical("ends with another process of its trial, which died: %s", reasons)
                os.kill(os.getpid(), signal.SIGKILL)


class Other:
    """One of the other processes, and the pipe to it: it ends when this process closes its end."""

    def __init__(self, rank: Rank) -> None:
        context = get_context("spawn")
        self.ours, self.theirs = context.Pipe()
        self.name = f"process {rank.number} of {rank.count}"
        arguments = (rank, torch.get_num_threads(), self.theirs, os.getpid())
        self.process: BaseProcess = context.Process(target=_train, args=arguments, name=self.name)
        self.ready = False
        self._failure: Report | None = None

    @property
    def handles(self) -> list[Any]:
        """What becomes ready when it says something, or ends."""
        return [self.ours] if self.process.pid is None else [self.ours, self.process.sentinel]

    def wait_until_ready(self) -> None:
        """Wait until it can train.

        Raises:
            TaskError: if it ends instead.
        """
        wait(self.handles)
        self.failure()
        if not self.ready:
            raise TaskError(f"{self.name} has ended before it could train")

    def failure(self) -> Report | None:
        """Return what it has said of a failure, if it has said so by now."""
        with suppress(EOFError, OSError):
            while self._failure is None and self.ours.poll():
                report: Report = self.ours.recv()
                if report.failure is None:
                    self.ready = True
                else:
                    self._failure = report
        return self._failure

    def end(self) -> None:
        """Kill it, if it lives."""
        self.ours.close()
        self.theirs.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


@contextmanager
def leading(devices: Sequence[str], prepare: Prepare) -> Iterator[Leader]:
    """Have one more process for each device but the first while the block runs.

    Args:
        devices: of one kind, such as "cuda:0" and "cuda:1".
        prepare: what the others begin with; it must be one that they can import.

    Raises:
        RankLostError: if one of them was killed, or has crashed.
        TaskError: if one of them failed, or cannot be told what to do.
    """
    leader = Leader(devices, prepare)
    try:
        leader.start()
        yield leader
    except Exception as error:
        if (cause := leader.cause(error)) is error:
            raise
        raise cause from error
    finally:
        leader.close()


def _train(rank: Rank, threads: int, connection: Connection, parent: int) -> None:
    """Train in a process of its own, until the first one ends it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # they reach the first, which ends this one
    messages: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, parent, messages), daemon=True).start()
    try:
        prepare_torch(str(rank.device))
        torch.set_num_threads(threads)
        prepare: Prepare = pickle.loads(messages.get())
        prepared = prepare(str(rank.device))
        connection.send(Report(time.monotonic(), None))
        prepared.training.join(rank)
        while True:
            prepared.follow(messages.get())
    except Exception as error:
        own = isinstance(error, LrsearchError)
        text = str(error) if own else f"{type(error).__name__}: {error}"
        with suppress(OSError):
            connection.send(Report(time.monotonic(), text))
        os._exit(1)


def _listen(connection: Connection, parent: int, messages: SimpleQueue[Any]) -> None:
    """Pass on what the first process says; end this one where that has ended, or closes the pipe.

    A process that the first one forked may keep the pipe open, so its parent is looked at too.
    """
    while True:
        try:
            while not connection.poll(LOOK):
                if os.getppid() != parent:
                    os._exit(1)
            messages.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Have what starts in the block not be ended by signals, also before it can say so itself."""
    resource_tracker.ensure_running()  # else its start in the block would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(status: int) -> str:
    """Return how a process ended, by its exit status as multiprocessing gives it."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
