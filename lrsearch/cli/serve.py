"""`lrsearch serve`."""

from __future__ import annotations

import shlex
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lrsearch.cluster import Server


def serve(
    folder: Annotated[
        Path, typer.Argument(help="Holds its data and its password; made if it is not there.")
    ] = Path("lrsearch-server"),
    host: Annotated[
        str,
        typer.Option(help="This machine's address to listen on; on a cluster its private one."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port there.")] = 5432,
    backup: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all studies to a file, also while it runs."),
    ] = None,
    restore: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read them from such a file first.")
    ] = None,
) -> None:
    """Run a PostgreSQL server for the studies of several machines, until Ctrl-C.

    It keeps its data, and makes a password at its first start, which clients read from the file
    `pgpass` in its folder: on other machines from a copy of it. Connections are not encrypted, so
    listen on private networks only.
    """
    from lrsearch.cluster import Server

    server = Server(folder, host, port)
    signal.signal(signal.SIGTERM, _leave)
    if backup:
        server.backup(backup)
        typer.echo(f"wrote {backup}")
        return
    with server.running():
        if restore:
            server.restore(restore)
            typer.echo(f"restored {restore}")
        typer.echo(_how_to_join(server))
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(1.0)
                if server.revive():
                    typer.echo("PostgreSQL had died and was started again", err=True)
    typer.echo("stopped")


def _how_to_join(server: Server) -> str:
    password = shlex.quote(str(server.passwords))
    name = socket.gethostname()
    lines = [
        f"PostgreSQL listens on {server.host}:{server.port}; Ctrl-C ends it.",
        f"Its data and its password are in {server.folder}.",
        "",
        "On this machine:",
        f"  export PGPASSFILE={password}",
        f"  export LRSEARCH_STORAGE={server.url('localhost' if server.everywhere else '')}",
        "",
    ]
    if server.loopback:
        lines.append("Other machines cannot reach it; for that name an address with --host.")
    else:
        lines += [
            "On another one (LRSEARCH_FILES, a shared folder or a URL, keeps checkpoints):",
            f"  scp -p {name}:{password} ~/.pgpass",
            f"  export LRSEARCH_STORAGE={server.url(name if server.everywhere else '')}",
            "  lrsearch resume",
        ]
    return "\n".join(lines)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
