"""A launcher: starts the workers of a study, restarts those that crash, takes them down with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
from lrsearch.tasks import Slot, check_importable

log = logging.getLogger(__name__)

GRACE = 30.0
"""Seconds that workers have to leave when the launcher is asked to, before they are killed."""
FAILING = 3
"""The exit status of a worker that found too many trials in a row failed."""


class WorkerProcess:
    """One worker's process, its log, and its restarts.

    Args:
        study: the study it works on.
        url: the storage, handed over in the environment, where `ps` does not show it.
        slot: where it works.
        log: the file that its output is appended to.
    """

    def __init__(self, study: Study, url: str, slot: Slot, log: Path) -> None:
        self.study = study
        self.url = url
        self.slot = slot
        self.log = log
        self.restarts = 0
        self.started = 0.0
        self.next_start = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, in a session of its own: signals reach it through the launcher."""
        self.started = current_time(self.study.storage)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = ["work", "--study", self.study.name, "--device", self.slot.device]
        command += ["--pack", self.slot.pack, "--trust"]  # who launches has looked
        environment = {
            **os.environ,
            **self.slot.environment,
            "LRSEARCH_STORAGE": self.url,
            "LRSEARCH_PARENT": str(os.getpid()),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lrsearch", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def supervise(self, leaving: bool) -> bool:
        """Restart the process if it crashed and may be; return whether to go on supervising."""
        if self.process is None:  # between a crash and its restart
            if not leaving and time.monotonic() >= self.next_start:
                self.start()
            return not leaving
        status = self.process.poll()
        if status is None:
            return True
        if status in (0, FAILING) or leaving:
            return False
        # restarts count only where no new epoch was trained: a preempted worker is no crash
        self.restarts = 1 if self._count_epochs() else self.restarts + 1
        if self.restarts > self.study.spec.workers.max_restarts:
            return False
        self.next_start = time.monotonic() + min(30.0, 2.0 ** (self.restarts - 1) - 1)
        self.process = None
        return True

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether the process has ended in a crash, for good."""
        return self.process is not None and self.process.poll() not in (None, 0, FAILING)

    def _count_epochs(self) -> int:
        """Return how many epochs the dead process was the first to train."""
        pid = self.process.pid if self.process else -1
        host = socket.gethostname()
        study = self.study
        return count_epochs_of(study.storage, study.study_id, host, pid, self.started)


def run_workers(
    study: Study, url: str, slots: list[Slot], show: Callable[[], Any] = lambda: None
) -> bool:
    """Work on a study with one process per slot until there is nothing left to do.

    Args:
        study: the study.
        url: its storage.
        slots: where the workers work.
        show: called about twice a second.

    Returns:
        Whether the workers came to an end by themselves; `False` after SIGINT or SIGTERM.

    Raises:
        StudyError: if too many trials in a row failed, or every worker crashed.
        TaskError: if no worker could import the study's task.
    """
    check_importable(study.spec.task.run)
    logs = study.files / "logs"
    processes = [
        WorkerProcess(study, url, slot, logs / f"worker-{os.getpid()}-{index}.log")
        for index, slot in enumerate(slots)
    ]
    with _signals(processes) as leaving:
        for process in processes:
            process.start()
        supervised = processes
        failure = ""
        try:
            while supervised:
                try:
                    supervised = [
                        process for process in supervised if process.supervise(bool(leaving))
                    ]
                    show()
                    failure = ""
                except DATABASE_ERRORS as error:
                    if not any(process.running for process in supervised):
                        raise
                    # while a worker lives, it waits for the storage to come back
                    if failure != (failure := reason_of(error)):
                        log.warning("the storage fails: %s", failure)
                time.sleep(0.5)
                if leaving:
                    late = time.monotonic() - leaving[0] > GRACE
                    _send(processes, signal.SIGKILL if late else signal.SIGTERM)
        finally:
            _send(processes, signal.SIGTERM)
    if leaving:
        return False
    _check(study, processes)
    return True


def _check(study: Study, processes: list[WorkerProcess]) -> None:
    """Say why workers gave up, if they did."""
    if any(process.process and process.process.poll() == FAILING for process in processes):
        logs = processes[0].log.parent
        raise StudyError(f"{why_stopped(study)}. Mend that and launch again; logs: {logs}")
    crashed = [process for process in processes if process.crashed]
    if len(crashed) == len(processes):
        lines = crashed[0].log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise StudyError(
            f"every worker crashed {study.spec.workers.max_restarts + 1} times; "
            f"the last line of {crashed[0].log}: {lines[-1] if lines else 'nothing'}"
        )


@contextmanager
def _signals(processes: list[WorkerProcess]) -> Iterator[list[float]]:
    """Have SIGINT and SIGTERM passed on to the workers; a second SIGINT kills them.

    Yields:
        A list that holds the time of the first signal once it has come.
    """
    leaving: list[float] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if leaving and number == signal.SIGINT:
            _send(processes, signal.SIGKILL)
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


def _send(processes: list[WorkerProcess], number: int) -> None:
    for process in processes:
        if process.process is not None and process.running:
            process.process.send_signal(number)
