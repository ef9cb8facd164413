"""What a SLURM job does: it runs a worker as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from submitit.helpers import DelayedSubmission

ENDS_SOON = signal.SIGUSR2
"""What SLURM sends, as submitit asks it to, some time before a job's time is over."""


class WorkerJob:
    """Runs a worker to its end, and asks it to leave when the job is asked to.

    SLURM signals all processes of a job. When the job's time is nearly over, submitit has it queued
    again once the worker has left.

    Args:
        command: the arguments of `lrsearch`.
        environment: what is added to the job's own; no secrets, since it is kept in a file.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command = command
        self.environment = environment

    def __call__(self) -> tuple[int, str, int]:
        """Run the worker; return its exit status, and the host and the id of its process.

        One that left because the job was asked to has the status of one that was killed.
        """
        asked: list[int] = []
        process = subprocess.Popen(
            [sys.executable, "-m", "lrsearch", *self.command],
            env={**os.environ, **self.environment, "LRSEARCH_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_leave_to_the_job,
        )

        def ask(number: int, _frame: FrameType | None) -> None:
            asked.append(number)
            process.send_signal(signal.SIGTERM)

        numbers = (signal.SIGINT, signal.SIGTERM, ENDS_SOON)
        before = {number: signal.signal(number, ask) for number in numbers}
        status = process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
        queue_again = before[ENDS_SOON]
        if ENDS_SOON in asked and callable(queue_again):
            queue_again(ENDS_SOON, None)  # it ends this process
        if asked and status == 0:
            status = -signal.SIGTERM
        return status, socket.gethostname(), process.pid

    def checkpoint(self) -> DelayedSubmission:
        """Return what the job does when it begins again: the same."""
        return DelayedSubmission(self)


def _leave_to_the_job() -> None:
    signal.signal(ENDS_SOON, signal.SIG_IGN)
