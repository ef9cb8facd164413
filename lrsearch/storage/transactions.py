"""Transactions that many processes share: which read, which write, and what each begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import URL, Connection, event

from lrsearch.storage import postgresql, sqlite
from lrsearch.storage.messages import decoding
from lrsearch.storage.optuna_private import construct

_reading: ContextVar[bool] = ContextVar("reading", default=False)
_writing: ContextVar[Connection | None] = ContextVar("writing", default=None)
_guard: ContextVar[Callable[[Connection], None] | None] = ContextVar("guard", default=None)


@contextmanager
def _as_reader() -> Iterator[None]:
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


_reads = _as_reader()
"""Declares a method of Optuna's to be reading: on SQLite its transaction takes no lock."""


class Transactions(RDBStorage):
    """Optuna's storage, with transactions that many processes can share.

    On SQLite every writing transaction takes the write lock when it begins, since Optuna reads
    before it writes and SQLite has no row locks; reading ones take none and never wait. On
    PostgreSQL Optuna's own row locks do.
    """

    def __init__(self, url: URL, *, checked: bool = False) -> None:
        text = url.render_as_string(hide_password=False)
        if checked:
            construct(self, text, engine_options(url))
        else:
            super().__init__(text, engine_options(url), skip_table_creation=True)
            self.engine.dispose()  # what the constructor opened does not know the event
        event.listen(self.engine, "begin", _begin)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with _as_reader(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Make all that this thread writes in the block one transaction, Optuna's methods included.

        Blocks nest, and the outermost commits. Keep them short: on SQLite nobody else writes then.
        """
        if (outer := self._begun()) is not None:
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

    @contextmanager
    def _seeing(self) -> Iterator[Connection]:
        """Open a transaction to read in: this thread's own, if it writes in one."""
        if (outer := self._begun()) is not None:
            yield outer
            return
        with self.reading() as connection:
            yield connection

    def _begun(self) -> Connection | None:
        """Return the transaction that this thread writes in, if it does."""
        outer = _writing.get()
        return outer if outer is not None and outer.engine is self.engine else None

    # Optuna's methods that only read; those that are missing here call these.

    get_study_id_from_name = _reads(RDBStorage.get_study_id_from_name)
    get_study_name_from_id = _reads(RDBStorage.get_study_name_from_id)
    get_study_directions = _reads(RDBStorage.get_study_directions)
    get_study_user_attrs = decoding()(_reads(RDBStorage.get_study_user_attrs))
    get_study_system_attrs = _reads(RDBStorage.get_study_system_attrs)
    get_all_studies = decoding()(_reads(RDBStorage.get_all_studies))
    get_trial_user_attrs = _reads(RDBStorage.get_trial_user_attrs)
    get_trial_system_attrs = _reads(RDBStorage.get_trial_system_attrs)
    get_trial_param = _reads(RDBStorage.get_trial_param)
    get_trial_id_from_study_id_trial_number = _reads(
        RDBStorage.get_trial_id_from_study_id_trial_number
    )
    _get_best_trial_id = _reads(RDBStorage._get_best_trial_id)


def engine_options(url: URL) -> dict[str, Any]:
    """Return how SQLAlchemy is to connect."""
    if url.get_backend_name() == "sqlite":
        return {"creator": partial(sqlite.connect, str(url.database))}
    if url.get_dialect().driver == "psycopg":
        return {"creator": partial(postgresql.connect, url), "pool_pre_ping": True}
    return {"pool_pre_ping": True}


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
