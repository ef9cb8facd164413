"""Many processes on one storage at once, while a dashboard looks on and edits."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from optuna.trial import TrialState
from processes import at_once
from sqlalchemy import make_url
from test_conformance import join, make

from lrsearch import open_storage, open_study
from lrsearch.storage import EpochMetrics, NoTrialReason, read_metrics, record_metrics
from lrsearch.study import read_status

pytestmark = pytest.mark.slow

BUDGET = 128
EPOCHS = 3


def search(url: str) -> list[int]:
    """Claim, suggest, report and finish as a worker does; return the trials' numbers."""
    study = open_study(open_storage(url, create=False))
    worker = join(study)
    numbers = []
    while (lease := worker.claim()) is not NoTrialReason.DONE:
        if lease is NoTrialReason.WAIT:
            time.sleep(0.05)
            continue
        with study.storage.guarded(lease.check):
            trial = study.trial(lease.trial_id, lease.number)
            schedule = study.spec.search_space().suggest(trial, 100)
            trial.set_user_attr("schedule", schedule.to_dict())
            for epoch in range(1, EPOCHS + 1):
                metrics = {"score": schedule.base_lr * epoch}
                row = EpochMetrics(lease.number, 0, epoch, 50 * epoch, schedule.base_lr, metrics)
                record_metrics(study.storage, study.study_id, worker.worker_id, row)
                trial.report(metrics["score"], epoch)
                trial.should_prune()
            study.optuna.tell(lease.number, metrics["score"])
        worker.end(lease, failed=False)
        numbers.append(lease.number)
    worker.leave()
    assert "torch" not in sys.modules
    return numbers


@contextmanager
def dashboard(url: str) -> Iterator[list[int]]:
    """Serve the storage in a process of its own; read it, and edit its note, again and again.

    Yields:
        A list that gets how many trials were seen at each look.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = f"run_server(open_storage({url!r}), '127.0.0.1', {port})"
    imports = "from optuna_dashboard import run_server; from lrsearch import open_storage"
    command = [sys.executable, "-c", f"{imports}; {serve}"]
    root = f"http://127.0.0.1:{port}/api/studies"
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        with urllib.request.urlopen(root) as answer:
            study_id = json.load(answer)["study_summaries"][0]["study_id"]
        while not done.is_set():
            with urllib.request.urlopen(f"{root}/{study_id}?after=0") as answer:
                seen.append(len(json.load(answer)["trials"]))
            note = json.dumps({"body": "looking", "version": len(seen)}).encode()
            header = {"Content-Type": "application/json"}
            put = urllib.request.Request(f"{root}/{study_id}/note", note, header, method="PUT")
            with urllib.request.urlopen(put) as answer:
                assert answer.status == 204

    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as server,
        ThreadPoolExecutor() as pool,
    ):
        while server.poll() is None and not _listens(port):
            time.sleep(0.1)
        looking = pool.submit(look)
        try:
            yield seen
            done.set()
            looking.result()
        finally:
            done.set()
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check(url: str, found: list[list[int]]) -> None:
    assert sorted(number for numbers in found for number in numbers) == list(range(BUDGET))
    study = open_study(open_storage(url))
    trials = study.optuna.get_trials()
    assert [trial.number for trial in trials] == list(range(BUDGET))
    for trial in trials:
        assert trial.state == TrialState.COMPLETE
        scores = {epoch: trial.params["base_lr"] * epoch for epoch in range(1, EPOCHS + 1)}
        assert trial.intermediate_values == scores
        assert trial.values == [scores[EPOCHS]]
        rows = read_metrics(study.storage, study.study_id, [trial.number])
        assert {row.epoch: row.metrics["score"] for row in rows} == scores
    assert len({trial.params["base_lr"] for trial in trials}) == BUDGET
    assert read_status(study).workers == []


def processes(url: str) -> int:
    """Return how many to run: a PostgreSQL server takes 100 connections."""
    return 64 if make_url(url).get_backend_name() == "sqlite" else 16


def test_many_processes_lose_and_double_no_trial_while_a_dashboard_looks_on(storage_url):
    make(open_storage(storage_url), trials=BUDGET)
    with dashboard(storage_url) as seen:
        found = at_once(processes(storage_url), search, storage_url)
    check(storage_url, found)
    assert len(seen) > 5
    assert seen == sorted(seen)
