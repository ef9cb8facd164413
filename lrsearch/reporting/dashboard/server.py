"""optuna-dashboard in this process, on loopback, its study's page kept up to date."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

from optuna_dashboard import wsgi

from lrsearch.errors import LrsearchError
from lrsearch.reporting.dashboard.study_detail import FewTrials, with_details
from lrsearch.reporting.dashboard.study_page import refresh
from lrsearch.reporting.dashboard.trial_pages import Artifacts, TrialPages
from lrsearch.storage import Storage, count_finished_trials
from lrsearch.study import Study

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""The dashboard has no authentication and can delete studies: only this machine may see it."""
_PAUSE = 30.0
"""Seconds between two looks at whether a trial has finished."""
_SHARE = 0.1
"""The part of the time that refreshing may take at most: workers want the cores."""


LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""What a browser on this machine may call it."""


def only_as(names: Collection[str], app: WSGIApplication) -> WSGIApplication:
    """Return an app that answers requests for these host names alone.

    A page elsewhere may give its own name this machine's address, and then read and delete studies
    here as if they were its own (DNS rebinding); but the browser still says that name.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = re.sub(r":\d*$", "", environ.get("HTTP_HOST", "")).lower()
        if host in names:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"this name is not the dashboard's; give it with --host if it is to be\n"]

    return guarded


def dashboard_of(storage: Storage) -> WSGIApplication:
    """Return optuna-dashboard as an app that shows the studies of a storage, with our pages."""
    pages, few = TrialPages(storage.engine.url), FewTrials(storage.engine.url)
    artifacts = Artifacts(pages, storage.files / "artifacts")
    return with_details(
        wsgi(pages, artifact_store=artifacts), wsgi(few, artifact_store=artifacts), few
    )


def serve(study: Study, port: int, hosts: Collection[str] = ()) -> None:
    """Serve the dashboard until interrupted, in this process: no URL appears in `ps`.

    Args:
        study: the study.
        port: on loopback.
        hosts: names besides loopback's own by which a browser may ask for it, as through a tunnel.

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
    names = {*LOOPBACK, *(name.lower() for name in hosts)}
    app = only_as(names, dashboard_of(study.storage))
    with make_server(HOST, port, app) as server:
        server.serve_forever()


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
