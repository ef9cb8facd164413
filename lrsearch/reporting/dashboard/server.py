"""optuna-dashboard in this process, on loopback, its study's page kept up to date."""

from __future__ import annotations

import logging
import socket
import threading
import time

from optuna_dashboard import run_server

from lrsearch.errors import LrsearchError
from lrsearch.reporting.dashboard.study_page import refresh
from lrsearch.reporting.dashboard.trial_pages import Artifacts, TrialPages
from lrsearch.storage import count_finished_trials
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
    seen, pause = count_finished_trials(study.storage, study.study_id), _PAUSE
    while True:
        time.sleep(pause)
        try:
            if (finished := count_finished_trials(study.storage, study.study_id)) == seen:
                continue
            begun = time.monotonic()
            refresh(study)
            seen, pause = finished, max(_PAUSE, (time.monotonic() - begun) / _SHARE)
        except Exception as error:
            log.warning("the figures of %r are not up to date: %s", study.name, error)
