"""What reports and the dashboard cost.

    python -m tests.benchmarks.pages report --trials 100 1000 5000
    python -m tests.benchmarks.pages poll --trials 100 1000 5000
    python -m tests.benchmarks.pages beside

`report` writes a report with the command line. `poll` asks the dashboard's server for a study,
first whole and then as its page does again and again: without our figures, with them, and with the
same ones stored by optuna-dashboard's own `save_plotly_graph_object`. `beside` runs eight workers
with and without a dashboard that is being looked at.
"""

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna_dashboard import save_plotly_graph_object, wsgi

from lrsearch import open_storage, open_study
from lrsearch.reporting import FIGURES, read_data, refresh
from lrsearch.reporting.dashboard.trial_pages import Artifacts, TrialPages
from lrsearch.study import Study
from tests.reporting.synthetic import synthetic_study

SLEEPER = """
import time
from lrsearch import Progress

class Sleeper:
    epochs, steps_per_epoch, metric_names = 5, 20, ("val_loss",)

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(epochs):
            time.sleep(0.2)
            yield Progress(epoch + 1, {"val_loss": schedule.lr(20 * epoch, 100)})
"""
STUDY = """
[study]
name = "beside"
trials = 160
metric = "val_loss"
direction = "minimize"
[task]
run = "sleeper:Sleeper"
"""


def report(folder: Path, trials: int) -> None:
    url = f"sqlite:///{folder}/{trials}.db"
    synthetic_study(url, trials)
    path = folder / "report.html"
    begun = time.perf_counter()
    command = ["report", "--storage", url, "-o", str(path)]
    subprocess.run([sys.executable, "-m", "lrsearch", *command], check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    print(f"{trials:>6} trials  {seconds:6.2f} s  {path.stat().st_size / 1e6:5.2f} MB", flush=True)


def theirs(study: Study) -> None:
    data = read_data(study)
    for name, draw in FIGURES.items():
        save_plotly_graph_object(study.optuna, draw(data), graph_object_id=name)


def poll(folder: Path, trials: int) -> None:
    made = synthetic_study(f"sqlite:///{folder}/{trials}.db", trials)
    made.storage.engine.dispose()  # what it wrote is then in the file that is copied
    kinds: dict[str, Callable[[Study], None]] = {
        "without": lambda _: None,
        "ours": refresh,
        "save_plotly_graph_object": theirs,
    }
    for kind, store in kinds.items():
        path = shutil.copy(folder / f"{trials}.db", folder / f"{trials}-{kind}.db")
        study = open_study(open_storage(f"sqlite:///{path}"))
        begun = time.perf_counter()
        store(study)
        stored = time.perf_counter() - begun
        storage = TrialPages(study.storage.engine.url) if kind == "ours" else study.storage
        app = wsgi(storage, Artifacts(storage, folder / "artifacts") if kind == "ours" else None)
        first, size = ask(app, study.study_id, 0)
        polls = [ask(app, study.study_id, trials) for _ in range(9)]
        print(
            f"{trials:>6} trials  {kind:26} stored in {stored:5.2f} s  first {first:5.2f} s "
            f"{size / 1e6:6.2f} MB  poll {1e3 * statistics.median(p[0] for p in polls):6.1f} ms "
            f"{polls[0][1] / 1e3:5.0f} kB",
            flush=True,
        )


def ask(app: Callable[..., list[bytes]], study_id: int, after: int) -> tuple[float, int]:
    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/api/studies/{study_id}",
        "QUERY_STRING": f"after={after}",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    begun = time.perf_counter()
    size = sum(map(len, app(environment, lambda *_: None)))
    return time.perf_counter() - begun, size


def beside(folder: Path) -> None:
    (folder / "sleeper.py").write_text(SLEEPER)
    (folder / "study.toml").write_text(STUDY)
    for watched in (False, True, False, True):
        url = f"sqlite:///{folder}/beside-{time.time()}.db"
        command = [sys.executable, "-m", "lrsearch"]
        environment = {**os.environ, "LRSEARCH_STORAGE": url}
        begun = time.perf_counter()
        workers = subprocess.Popen(
            [*command, "launch", "study.toml", "--workers", "8"],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        polls: list[float] = []
        if watched:
            status = [*command, "status"]
            while subprocess.run(status, env=environment, capture_output=True).returncode:
                time.sleep(0.5)
            server = subprocess.Popen(
                [*command, "dashboard", "--port", "8199"],
                cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            threading.Thread(target=look, args=(polls, workers), daemon=True).start()
        returned = workers.wait()
        seconds = time.perf_counter() - begun
        if watched:
            server.terminate()
            server.wait()
        logs = "".join(p.read_text() for p in folder.glob(f"{Path(url).name}.files/*/logs/*"))
        errors = sum("Error" in line or "locked" in line for line in logs.splitlines())
        print(
            f"dashboard {watched!s:5}  {seconds:6.1f} s  status {returned}  "
            f"errors in logs {errors}  polls {len(polls)}",
            flush=True,
        )


def look(polls: list[float], workers: "subprocess.Popen[bytes]") -> None:
    while workers.poll() is None:
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(
                "http://127.0.0.1:8199/api/studies/1", timeout=30
            ) as answer:
                answer.read()
            polls.append(time.perf_counter() - begun)
        except OSError:
            pass
        time.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("report", "poll", "beside"))
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with TemporaryDirectory() as name:
        if arguments.what == "beside":
            beside(Path(name))
        else:
            for trials in arguments.trials:
                {"report": report, "poll": poll}[arguments.what](Path(name), trials)
