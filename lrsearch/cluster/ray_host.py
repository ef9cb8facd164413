"""What a Ray actor does: it runs a worker as a process of its own, on whatever node it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

AT_ONCE = 2**20
"""Bytes of what a worker says that are sent at once."""


class WorkerHost:
    """Starts a worker, tells whether it has ended and what it has said, passes on signals.

    The worker leaves by itself where this process is gone.
    """

    def __init__(self) -> None:
        self._said = TemporaryFile()  # noqa: SIM115 (open as long as this process lives)
        self._sent = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], folder: str
    ) -> tuple[str, int]:
        """Start `lrsearch` with a command; return the host and the id of its process.

        Args:
            command: its arguments.
            environment: what is added to this process's own.
            folder: where it works, if there is such a folder here.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lrsearch", *command],
            env={**os.environ, **environment, "LRSEARCH_PARENT": str(os.getpid())},
            cwd=folder if Path(folder).is_dir() else None,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )
        return socket.gethostname(), self._process.pid

    def look(self) -> tuple[int | None, bytes]:
        """Return the exit status, `None` while it runs, and what it said since the last look."""
        status = self._process.poll() if self._process else None
        said = os.pread(self._said.fileno(), AT_ONCE, self._sent)
        self._sent += len(said)
        return (status if len(said) < AT_ONCE else None), said

    def send(self, number: int) -> None:
        """Send the worker a signal."""
        if self._process is not None:
            self._process.send_signal(number)
