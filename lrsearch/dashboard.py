"""optuna-dashboard on a study, on loopback."""

from __future__ import annotations

import socket

from lrsearch.errors import LrsearchError
from lrsearch.storage import Storage

HOST = "127.0.0.1"
"""The dashboard has no authentication and can delete studies: only this machine may see it."""


def serve(storage: Storage, port: int) -> None:
    """Serve the dashboard until interrupted, in this process: no URL appears in `ps`.

    Raises:
        LrsearchError: if the port is taken.
    """
    from optuna_dashboard import run_server

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LrsearchError(
                f"port {port} on {HOST}: {error.strerror}; choose another with --port"
            ) from None
    run_server(storage, host=HOST, port=port)
