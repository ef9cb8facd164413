"""A URL → the Optuna storage that our workers use, safe for many processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialIntermediateValueModel as _Report
from optuna.storages._rdb.models import TrialModel
from platformdirs import user_cache_path
from sqlalchemy import (
    URL,
    Connection,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from lrsearch.errors import StorageError
from lrsearch.storage import sqlite
from lrsearch.storage.messages import masked, storage_errors
from lrsearch.storage.once import ReadOnce
from lrsearch.storage.tables import check_tables, create_tables

MAX_IDLE = 60
"""Seconds that a PostgreSQL transaction may wait for its client; a machine may die in one."""

_reading: ContextVar[bool] = ContextVar("reading", default=False)
_writing: ContextVar[Connection | None] = ContextVar("writing", default=None)
_guard: ContextVar[Callable[[Connection], None] | None] = ContextVar("guard", default=None)

_trials: Table = TrialModel.__table__
_reports: Table = _Report.__table__
_STATE = select(_trials.c.state).where(_trials.c.trial_id == bindparam("of_trial"))
_FORGET_REPORT = delete(_reports).where(
    _reports.c.trial_id == bindparam("of_trial"), _reports.c.step == bindparam("at_step")
)
_REPORT = insert(_reports)


class Storage(ReadOnce):
    """An Optuna storage whose transactions many processes can share; see `open_storage`.

    On SQLite every writing transaction takes the write lock when it begins, since Optuna reads
    before it writes and SQLite has no row locks; reading ones take none and never wait. On
    PostgreSQL Optuna's own row locks do.
    """

    def __init__(self, url: URL) -> None:
        kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if url.get_backend_name() == "sqlite":
            kwargs = {"creator": partial(sqlite.connect, str(url.database))}
        super().__init__(
            url.render_as_string(hide_password=False), kwargs, skip_table_creation=True
        )
        self.engine.dispose()  # what the constructor opened does not know the event
        event.listen(self.engine, "begin", _begin)
        if url.get_backend_name() == "postgresql":
            event.listen(self.engine, "connect", _limit_idle)

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
    def writing(self) -> Iterator[Connection]:
        """Make all that this thread writes in the block one transaction, Optuna's methods included.

        Blocks nest, and the outermost commits. Keep them short: on SQLite nobody else writes then.
        """
        outer = _writing.get()
        if outer is not None and outer.engine is self.engine:
            yield outer
            return
        with self.engine.begin() as connection:
            self.scoped_session.remove()
            self.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            token = _writing.set(connection)
            try:
                yield connection
            finally:
                _writing.reset(token)
                self.scoped_session.remove()

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

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Store a report as Optuna does, but without its ORM, which takes four times as long.

        Reports are most of what workers write, and others wait while one writes.
        """
        value, kind = _Report.intermediate_value_to_stored_repr(intermediate_value)
        key = {"of_trial": trial_id, "at_step": step}
        row = {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }
        self.note_change(trial_id)
        with self.writing() as connection:
            state = connection.execute(_STATE, key).scalar()
            if state is None:
                raise KeyError(f"there is no trial with id {trial_id}")
            self.check_trial_is_updatable(trial_id, state)
            connection.execute(_FORGET_REPORT, key)
            connection.execute(_REPORT, row)


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
        setattr(Storage, _name, _only_reads(getattr(ReadOnce, _name)))


def _limit_idle(connection: Any, _record: Any) -> None:
    """Have the server end what a client that has gone silent leaves open: its locks stop others."""
    connection.execute(f"SET idle_in_transaction_session_timeout = '{MAX_IDLE}s'")
    connection.commit()


def _begin(connection: Connection) -> None:
    reading = _reading.get()
    guard = _guard.get()
    try:
        if connection.dialect.name == "sqlite":
            sqlite.begin(connection, reading=reading)
        if guard is not None and not reading:
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
                path = sqlite.check_path(parsed, create=create)
                with FileLock(f"{path}.lock"):
                    return _open(parsed, create)
            case "postgresql":
                return _open(parsed, create)
            case other:
                raise StorageError(
                    f"storage {masked(parsed)}: {other} is not supported; use sqlite:///… on one "
                    "machine, postgresql+psycopg://… across several"
                )


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
