"""PostgreSQL over any network: no wait is without an end, also where packets go nowhere.

The system notices a dead connection by its own means (`tcp_user_timeout`, keepalives); but a proxy
or a firewall may answer those and pass nothing on. So what a server has to say is waited for here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from ipaddress import ip_address
from typing import Any, TypeVar

from sqlalchemy import URL

_T = TypeVar("_T")

CONNECT = 10.0
"""Seconds that connecting may take."""
ANSWER = 60.0
"""Seconds that the server may take to answer; also those after which it gives up a statement."""
MAX_IDLE = 40.0
"""Seconds that a transaction may wait for its client, whose locks stop others; it may have died."""
LEAVING = 3.0
"""Seconds that connecting or an answer may take once the process is to leave."""

_TCP = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # ms
}


_leaving = False


def leave_soon(leaving: bool) -> None:
    """Say whether this process is to leave: then it waits for hardly anything."""
    global _leaving
    _leaving = leaving


def connect(url: URL) -> Any:
    """Connect with psycopg; what a URL sets of the waits itself holds."""
    import psycopg

    class Connection(psycopg.Connection[Any]):
        """A connection that is given up where its server does not answer."""

        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            """Wait for an answer.

            Raises:
                psycopg.OperationalError: if there is none in time; then the connection is closed.
            """
            begun = time.monotonic()

            def check() -> None:
                waited = time.monotonic() - begun
                if waited > (LEAVING if _leaving else ANSWER):
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer from the server for {waited:.0f} s")

            return super().wait(_checked(gen, check), *args, **kwargs)

    arguments, options = url.get_dialect()().create_connect_args(url)
    timeout = LEAVING if _leaving else CONNECT
    waits = {"connect_timeout": int(timeout), **_TCP, **options}
    connection = Connection.connect(*arguments, **waits)
    _limit_waits(connection)
    return connection


def host_of(url: URL) -> str | None:
    """Return the host that a URL leads to; none for the system's default."""
    host = url.host or url.query.get("host") or os.environ.get("PGHOST")
    return host if isinstance(host, str) or host is None else host[0]


def is_loopback(host: str | None) -> bool:
    """Return whether a host, or the folder of a socket, is this machine by a name for itself alone.

    Example:
        >>> is_loopback("localhost"), is_loopback("10.0.0.7")
        (True, False)
    """
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _limit_waits(connection: Any) -> None:
    """Have the server end what a client that has gone silent leaves open, and what takes too long.

    Others wait for the locks that it holds.
    """
    connection.execute(f"SET idle_in_transaction_session_timeout = '{MAX_IDLE * 1000:.0f}ms'")
    connection.execute(f"SET statement_timeout = '{ANSWER * 1000:.0f}ms'")
    connection.commit()


def _checked(
    waiting: Generator[Any, Any, _T], check: Callable[[], None]
) -> Generator[Any, Any, _T]:
    """Go through psycopg's steps, and check wherever it has waited in vain for a while."""
    try:
        state = next(waiting)
        while True:
            ready = yield state
            if not ready:
                check()
            state = waiting.send(ready)
    except StopIteration as done:
        result: _T = done.value
        return result
