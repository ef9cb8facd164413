"""Whether a worker's process lives, as far as this machine can tell."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


def process_mark(pid: int) -> str:
    """Return what tells a process from another that is given its id later; "" if nothing does.

    The boot and the pid namespace in which the id holds, and when the process started.
    """
    return f"{_scope()} {_stat(pid)[1]}".strip()


def is_alive(host: str, pid: int, mark: str) -> bool | None:
    """Return whether a process lives; `None` where this process cannot tell.

    It cannot for other machines and containers, for a process that is stopped, which may be so for
    ever, and for itself: a worker may have ended in it.
    """
    scope, _, started = mark.rpartition(" ")
    if host != socket.gethostname() or pid == os.getpid() or scope != _scope():
        return None
    if not _exists(pid):
        return False
    state, begun = _stat(pid)
    if not state or not started:
        return None
    if begun != started or state in "ZX":
        return False
    return None if state in "Tt" else True


@cache
def _scope() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; or no id at all
        pass
    return True


def _stat(pid: int) -> tuple[str, str]:
    """Return a process's state and start, as Linux's /proc/PID/stat has them; "" where not told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    state, *fields = text.rpartition(")")[2].split()
    return state, fields[18]
