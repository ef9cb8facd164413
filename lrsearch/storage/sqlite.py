"""SQLite for many processes: who writes draws a ticket; refused on disks without its locks."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import quote

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection

from lrsearch.errors import StorageError
from lrsearch.storage.messages import masked
from lrsearch.storage.ticket_lock import TicketLock

log = logging.getLogger(__name__)

SILENT_WAIT = 3.0
"""Seconds that a command waits for another before it says so."""
BUSY_TIMEOUT = 300.0
"""Seconds that a writer waits for SQLite's own lock before it gives up."""

_NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph"),
    *("fuse.sshfs", "fuse.glusterfs"),
}


class TicketConnection(sqlite3.Connection):
    """A connection that writes in the order of a ticket lock, which all processes share."""

    path: str
    _ticket: TicketLock | None = None

    def wait_to_write(self) -> None:
        """Draw a ticket and wait for its number; keep it until the transaction ends."""
        if hasattr(os, "pread"):  # not on Windows
            with suppress(OSError):  # a folder that is not ours to write to
                self._ticket = TicketLock(f"{self.path}.turns")
                self._ticket.wait()

    def commit(self) -> None:
        """Commit, and let the next one write."""
        try:
            super().commit()
        finally:
            self._end_ticket()

    def rollback(self) -> None:
        """Roll back, and let the next one write."""
        try:
            super().rollback()
        finally:
            self._end_ticket()

    def _end_ticket(self) -> None:
        if self._ticket is not None:
            ticket, self._ticket = self._ticket, None
            ticket.end()


def connect(path: str) -> TicketConnection:
    """Connect to a file that is there (mode=rw): one that was deleted must not come back empty."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where `begin` says so, nowhere else
        check_same_thread=False,
        factory=TicketConnection,
    )
    connection.path = path
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # in WAL mode power loss corrupts nothing
    return connection


def begin(connection: Connection, *, reading: bool) -> None:
    """Begin a transaction; one that writes waits for its ticket, then takes the write lock."""
    path = connection.engine.url.database
    if not os.path.exists(str(path)):  # noqa: PTH110 (every transaction pays for this)
        raise StorageError(f"the database {path} was deleted or moved; put it back and resume")
    if not reading:
        cast("TicketConnection", connection.connection.driver_connection).wait_to_write()
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def alone(database: str | Path) -> Iterator[None]:
    """Hold the only right to create what a file is to hold; say who is waited for."""
    path = Path(f"{database}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=SILENT_WAIT)
    except Timeout:
        log.warning(
            "waiting for %s, which holds %s; continue it if it is stopped, or end it",
            _holder(path),
            path,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """Return which process holds a lock file, as Linux tells it."""
    with suppress(OSError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[5].rpartition(":")[2] == inode:
                return f"process {fields[4]}"
    return "another process"


def check_path(url: URL, *, create: bool) -> Path:
    """Return the path of the file that a URL names.

    Raises:
        StorageError: if it names none, there is none, or its locks would not hold where it lies.
    """
    if not url.database or url.database == ":memory:":
        raise StorageError(
            "sqlite:// without a file lives in one process; name a file, as in sqlite:///study.db"
        )
    path = Path(url.database)
    if not path.parent.is_dir():
        raise StorageError(f"storage {masked(url)}: there is no folder {path.parent}; create it")
    if not create and not path.is_file():
        raise StorageError(f"storage {masked(url)}: there is no file {path}; launch a study first")
    kind = _file_system(path.parent.resolve())
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StorageError(
            f"storage {masked(url)} lies on a network file system ({kind}), where SQLite's locks "
            "do not hold; use a local disk, or postgresql+psycopg://… for several machines"
        )
    return path


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`; "" where the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    mounts = {line.split()[1].replace("\\040", " "): line.split()[2] for line in lines}
    return next((mounts[str(p)] for p in (folder, *folder.parents) if str(p) in mounts), "")
