"""Workers as processes of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lrsearch.study import Study
from lrsearch.tasks import Slot
from lrsearch.worker.placement import worker_command


class WorkerProcess:
    """A worker's process, in a session of its own: signals reach it through the launcher.

    Args:
        study: the study it works on.
        url: the storage, handed over in the environment, where `ps` does not show it.
        slot: where it works.
        log: the file that its output is appended to.
    """

    waiting = False

    def __init__(self, study: Study, url: str, slot: Slot, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **slot.environment,
            "LRSEARCH_STORAGE": url,
            "LRSEARCH_PARENT": str(os.getpid()),
        }
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lrsearch", *worker_command(study, slot)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def process(self) -> tuple[str, int]:
        """This host, and the id of the process."""
        return socket.gethostname(), self._process.pid

    def poll(self) -> int | None:
        """Return its exit status; `None` while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


class Processes:
    """Places workers on this machine, one in each slot.

    Args:
        slots: where they work.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots

    @property
    def device(self) -> str:
        """What each worker trains on."""
        return self.slots[0].device

    def wanted(self, study: Study) -> int:
        """Return how many slots there are."""
        return len(self.slots)

    def start(self, study: Study, url: str, places: Sequence[int]) -> list[WorkerProcess]:
        """Start a process in each of some slots."""
        logs = study.files / "logs"
        return [
            WorkerProcess(study, url, self.slots[i], logs / f"worker-{os.getpid()}-{i}.log")
            for i in places
        ]

    def summary(self) -> str:
        """Return nothing: the study knows its workers."""
        return ""

    def close(self) -> None:
        """Hold nothing."""
