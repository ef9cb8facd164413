"""What a database says, for people: short, and without passwords."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from lrsearch.errors import StorageError

DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
"""What is raised where a database fails: SQLAlchemy's own errors, and Optuna's around them."""


@contextmanager
def storage_errors(url: str | URL) -> Iterator[None]:
    """Turn what a database raises into a `StorageError` that shows no password."""
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"storage {masked(url)} needs a driver: pip install 'lrsearch[postgres]' ({error})"
        ) from error
    except (*DATABASE_ERRORS, OSError) as error:
        reason = reason_of(error)
        raise StorageError(f"storage {masked(url)} cannot be used: {reason}") from error
    except UnicodeDecodeError as error:  # what SQLite itself says of a damaged file may be no text
        raise StorageError(f"storage {masked(url)} is damaged: {error}") from error


@contextmanager
def decoding() -> Iterator[None]:
    """Say so where what is stored makes no sense."""
    try:
        yield
    except KeyError:  # how Optuna says that there is no such study or trial
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise StorageError(f"what is stored cannot be read, and may be damaged: {error}") from error


_SQLITE = "sqlite:///"
_NO_ROOM = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE"}
"""What SQLite says where a file cannot grow; of a quota it says no more than "disk I/O error"."""


def parse_url(url: str | URL) -> URL:
    """Return the parts of a URL; one for SQLite has only a path, whatever signs that holds.

    Example:
        >>> parse_url("sqlite:///50% ? & more.db").database
        '50% ? & more.db'
    """
    if isinstance(url, str) and url.startswith(_SQLITE):
        return URL.create("sqlite", database=url.removeprefix(_SQLITE))
    return make_url(url)


def is_disconnect(error: BaseException) -> bool:
    """Return whether a connection that worked was lost, which a moment later may be well again."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError) and cause.connection_invalidated:
            return True
        cause = cause.__cause__
    return False


def reason_of(error: Exception) -> str:
    """Return what the database itself said, without what SQLAlchemy and Optuna add to it."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = getattr(cause, "orig", None) or cause
    reason = str(cause).strip()
    if getattr(cause, "sqlite_errorname", "") in _NO_ROOM:
        return f"{reason} (is the disk full, or a quota or a limit on the size of files reached?)"
    return reason


def masked(url: str | URL) -> str:
    """Return the URL for people to read, its password hidden.

    Example:
        >>> masked("postgresql+psycopg://me:secret@db-host/lrsearch")
        'postgresql+psycopg://me:***@db-host/lrsearch'
    """
    try:
        parsed = parse_url(url)
    except (ArgumentError, ValueError):
        return "the given text" if "@" in str(url) else repr(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return f"{_SQLITE}{parsed.database}"
    secrets = {key: "***" for key in parsed.query if "pass" in key.lower()}
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True)
