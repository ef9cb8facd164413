"""A URL → the storage that the workers of a study share."""

from __future__ import annotations

from optuna.storages import RDBStorage
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from lrsearch.errors import StorageError
from lrsearch.storage import sqlite
from lrsearch.storage.messages import masked, parse_url, storage_errors
from lrsearch.storage.optuna_private import made_by_this_optuna
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import VERSION, check_tables, create_tables, migrate_tables
from lrsearch.storage.transactions import engine_options


def open_storage(url: str, *, create: bool = True) -> Storage:
    """Open the storage that the workers of a study share.

    Args:
        url: `sqlite:///path/to/file.db` for the processes of one machine, or
            `postgresql+psycopg://user@host/database` for several machines.
        create: make the file (SQLite) and the tables if they are not there.

    Raises:
        StorageError: if the URL is not valid, the storage cannot be opened, or its tables are
            newer than this lrsearch. Passwords are masked in every message.
    """
    try:
        parsed = parse_url(url)
    except (ArgumentError, ValueError):
        hint = f" (did you mean sqlite:///{url}?)" if url.endswith(".db") else ""
        raise StorageError(
            f"{masked(url)} is not a valid storage URL{hint}; use sqlite:///… on one machine, "
            "postgresql+psycopg://… across several"
        ) from None
    with storage_errors(parsed):
        match parsed.get_backend_name():
            case "sqlite":
                path = sqlite.check_path(parsed, create=create)
                with sqlite.alone(path):
                    return _open(parsed, create)
            case "postgresql":
                return _open(parsed, create)
            case other:
                raise StorageError(
                    f"storage {masked(parsed)}: {other} is not supported; use sqlite:///… on one "
                    "machine, postgresql+psycopg://… across several"
                )


def _open(url: URL, create: bool) -> Storage:
    is_server = url.get_backend_name() == "postgresql"
    options = engine_options(url) if is_server else {}  # a file is made where it is missing
    with create_engine(url, poolclass=NullPool, **options).begin() as connection:
        if create:
            if is_server:  # for SQLite the caller holds a file lock
                connection.execute(text("SELECT pg_advisory_xact_lock(7236751)"))
            # Optuna's storage makes its tables by itself when it is constructed
            plain = RDBStorage(url.render_as_string(hide_password=False), options or None)
            plain.engine.dispose()
            create_tables(connection)
        version = check_tables(connection)
        checked = made_by_this_optuna(connection)
    storage = Storage(url, checked=checked)
    if version < VERSION:
        with storage.engine.begin() as connection:
            if is_server:
                connection.execute(text("SELECT pg_advisory_xact_lock(7236751)"))
            migrate_tables(connection)
    return storage
