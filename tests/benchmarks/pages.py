"""What it costs to look at a study: a status, a report, the dashboard.

    python -m tests.benchmarks.pages look --trials 100 1000 10000
    python -m tests.benchmarks.pages poll --trials 100 1000 5000
    python -m tests.benchmarks.pages beside

`look` runs `lrsearch status` and `lrsearch report`, each three times, and asks the dashboard's
server once for the whole study and once more as its page then does: seconds of CPU. `poll` does the
latter without our figures, with them, and with the same ones stored by optuna-dashboard's own
`save_plotly_graph_object`. `beside` runs eight workers with and without a dashboard that is being
looked at.
"""

import argparse
import io
import os
import resource
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
from lrsearch.reporting.dashboard.server import dashboard_of
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


def look(folder: Path, trials: int) -> None:
    url = f"sqlite:///{folder}/{trials}.db"
    study = synthetic_study(url, trials)
    study.storage.engine.dispose()
    path = folder / "report.html"
    imports = median_cpu("-c", "import lrsearch.cli.view, lrsearch.study, lrsearch.evaluation")
    status = median_cpu("-m", "lrsearch", "status", "--storage", url)
    report = median_cpu("-m", "lrsearch", "report", "--storage", url, "-o", str(path), "--force")
    refresh(open_study(open_storage(url)))
    app = dashboard_of(study.storage)
    begun = time.process_time()
    _, size = ask(app, study.study_id, 0)
    first = time.process_time() - begun
    ask(app, study.study_id, trials)
    again = time.process_time() - begun - first
    print(
        f"{trials:>6} trials  imports {imports:5.2f} s  status {status:5.2f} s  "
        f"report {report:5.2f} s, {path.stat().st_size / 1e6:5.2f} MB  "
        f"first poll {first:5.2f} s, {size / 1e6:5.2f} MB  next {again:5.2f} s",
        flush=True,
    )


def median_cpu(*arguments: str) -> float:
    """Return the seconds of CPU that a command of Python's takes, the median of three."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


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
        app = dashboard_of(study.storage) if kind == "ours" else wsgi(study.storage)
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
            threading.Thread(target=watch, args=(polls, workers), daemon=True).start()
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


def watch(polls: list[float], workers: "subprocess.Popen[bytes]") -> None:
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
    parser.add_argument("what", choices=("look", "poll", "beside"))
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with TemporaryDirectory() as name:
        if arguments.what == "beside":
            beside(Path(name))
        else:
            for trials in arguments.trials:
                {"look": look, "poll": poll}[arguments.what](Path(name), trials)
