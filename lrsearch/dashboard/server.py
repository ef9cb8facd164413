"""optuna-dashboard in this process, on loopback, its study's page kept up to date."""

from __future__ import annotations

import logging
import socket
import threading
import time

from optuna_dashboard import run_server

from lrsearch.dashboard.study_page import refresh
from lrsearch.dashboard.trial_pages import Artifacts, TrialPages
from lrsearch.errors import LrsearchError
from lrsearch.storage.claims import count_finished
from lrsearch.study import Study

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""The dashboard has no authentication and can delete studies: only this machine may see it."""
_PAUSE = 30.0
"""Seconds between two looks at whether a trial has finished."""
_SHARE = 0.1
"""The part of the time that refreshing may take at most: workers want the cores."""


def serve(study: Study, port: int) -> None:
    """Serve the dashboard until interrupted, in this process: no URL appears in `ps`.

    Raises:
        LrsearchError: if the port is taken, or the layout of figures cannot be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LrsearchError(
                f"port {port} on {HOST}: {error.strerror}; choose another with --port"
            ) from None
    refresh(study)
    threading.Thread(target=_keep_fresh, args=(study,), daemon=True).start()
    storage = TrialPages(study.storage.engine.url)
    artifacts = Artifacts(storage, study.storage.files / "artifacts")
    run_server(storage, host=HOST, port=port, artifact_store=artifacts)


def _keep_fresh(study: Study) -> None:
    """Refresh the study's page when trials have finished, here and not in a worker."""
    seen, pause = _finished(study), _PAUSE
    while True:
        time.sleep(pause)
        try:
            if (finished := _finished(study)) == seen:
                continue
            begun = time.monotonic()
            refresh(study)
            seen, pause = finished, max(_PAUSE, (time.monotonic() - begun) / _SHARE)
        except Exception as error:
            log.warning("the figures of %r are not up to date: %s", study.name, error)


def _finished(study: Study) -> int:
    with study.storage.reading() as connection:
        return count_finished(connection, study.study_id)
