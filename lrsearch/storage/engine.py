"""A URL → the Optuna storage that our workers use, safe for many processes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from platformdirs import user_cache_path
from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lrsearch.errors import StorageError
from lrsearch.storage.tables import check_tables, create_tables

BUSY_TIMEOUT = 300.0
"""Seconds that a SQLite writer waits for its turn before it gives up."""

_NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph"),
    *("fuse.sshfs", "fuse.glusterfs"),
}

_reading: ContextVar[bool] = ContextVar("reading", default=False)
_guard: ContextVar[Callable[[Connection], None] | None] = ContextVar("guard", default=None)


class Storage(RDBStorage):
    """An Optuna storage whose transactions many processes can share; see `open_storage`.

    On SQLite every writing transaction takes the write lock when it begins, since Optuna reads
    before it writes and SQLite has no row locks; reading ones take none and never wait. On
    PostgreSQL Optuna's own row locks do.
    """

    def __init__(self, url: URL) -> None:
        kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if url.get_backend_name() == "sqlite":
            kwargs = {"creator": partial(_connect_sqlite, str(url.database))}
        super().__init__(
            url.render_as_string(hide_password=False), kwargs, skip_table_creation=True
        )
        self.engine.dispose()  # what the constructor opened does not know the event
        event.listen(self.engine, "begin", _begin)

    @property
    def files(self) -> Path:
        """The folder for checkpoints and logs.

        `LRSEARCH_FILES` if set (where several machines share a study, on a disk they share, so
        that one can go on with the other's trial); else beside a SQLite file, or for PostgreSQL in
        the user's cache.
        """
        url = self.engine.url
        name = sha256(url.set(password=None).render_as_string().encode()).hexdigest()[:16]
        if root := os.environ.get("LRSEARCH_FILES"):
            return Path(root) / name
        if url.get_backend_name() == "sqlite":
            return Path(f"{url.database}.files").absolute()
        return user_cache_path("lrsearch") / "files" / name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        token = _reading.set(True)
        try:
            with self.engine.begin() as connection:
                yield connection
        finally:
            _reading.reset(token)

    @contextmanager
    def guarded(self, check: Callable[[Connection], None]) -> Iterator[None]:
        """Begin every writing transaction of this thread with `check`, which raises to forbid it.

        So what a worker writes, and its right to write it, are one transaction.
        """
        token = _guard.set(check)
        try:
            yield
        finally:
            _guard.reset(token)


def _only_reads(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        token = _reading.set(True)
        try:
            return method(*args, **kwargs)
        finally:
            _reading.reset(token)

    return wrapper


for _name in dir(RDBStorage):
    if _name.startswith(("get_", "_get_trials", "_get_best_trial_id")):
        setattr(Storage, _name, _only_reads(getattr(RDBStorage, _name)))


def _connect_sqlite(path: str) -> sqlite3.Connection:
    """Connect to a file that is there (mode=rw): one that was deleted must not come back empty."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where _begin says so, nowhere else
        check_same_thread=False,
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # in WAL mode power loss corrupts nothing
    return connection


def _begin(connection: Connection) -> None:
    reading = _reading.get()
    if connection.dialect.name == "sqlite":
        path = connection.engine.url.database
        if not os.path.exists(str(path)):  # noqa: PTH110 (every transaction pays for this)
            raise StorageError(f"the database {path} was deleted or moved; put it back and resume")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
    guard = _guard.get()
    if guard is not None and not reading:
        try:
            guard(connection)
        except BaseException:
            connection.connection.rollback()
            raise


def open_storage(url: str, *, create: bool = True) -> Storage:
    """Open the storage that the workers of a study share.

    Args:
        url: `sqlite:///path/to/file.db` for the processes of one machine, or
            `postgresql+psycopg://user@host/database` for several machines.
        create: make the file (SQLite) and the tables if they are not there.

    Raises:
        StorageError: if the URL is none, the storage cannot be opened, or its tables are newer
            than this lrsearch. Passwords are masked in every message.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        hint = f" (did you mean sqlite:///{url}?)" if url.endswith(".db") else ""
        raise StorageError(
            f"{masked(url)} is no storage URL{hint}; use sqlite:///… on one machine, "
            "postgresql+psycopg://… across several"
        ) from None
    with storage_errors(parsed):
        match parsed.get_backend_name():
            case "sqlite":
                path = _sqlite_path(parsed, create)
                with FileLock(f"{path}.lock"):
                    return _open(parsed, create)
            case "postgresql":
                return _open(parsed, create)
            case other:
                raise StorageError(
                    f"storage {masked(parsed)}: {other} is not supported; use sqlite:///… on one "
                    "machine, postgresql+psycopg://… across several"
                )


@contextmanager
def storage_errors(url: str | URL) -> Iterator[None]:
    """Turn what a database raises into a `StorageError` that shows no password."""
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"storage {masked(url)} needs a driver: pip install 'lrsearch[postgres]' ({error})"
        ) from error
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        reason = reason_of(error)
        raise StorageError(f"storage {masked(url)} cannot be used: {reason}") from error


def reason_of(error: Exception) -> str:
    """Return what the database itself said, without what SQLAlchemy and Optuna add to it."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause).strip()


def masked(url: str | URL) -> str:
    """Return the URL for people to read, its password hidden."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "the given text" if "@" in str(url) else repr(url)
    secrets = {key: "***" for key in parsed.query if "pass" in key.lower()}
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True)


def _open(url: URL, create: bool) -> Storage:
    if create:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            if url.get_backend_name() == "postgresql":  # for SQLite the caller holds a file lock
                connection.execute(text("SELECT pg_advisory_xact_lock(7236751)"))
            # Optuna's storage makes its tables by itself when it is constructed
            plain = RDBStorage(url.render_as_string(hide_password=False))
            plain.engine.dispose()
            create_tables(connection)
    storage = Storage(url)
    with storage.reading() as connection:
        check_tables(connection)
    return storage


def _sqlite_path(url: URL, create: bool) -> Path:
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
