"""A place where workers run as processes of their own, and what is needed to watch them."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lrsearch import StudySpec, create_study, open_storage, open_study
from lrsearch.storage import read_metrics
from lrsearch.storage.tables import workers
from lrsearch.study import Study
from lrsearch.tasks import load_task

HUNG = 900.0
"""Seconds after which a test gives up waiting for what must come: no property, only an end."""


class Place:
    """A folder with a study, and the processes started there; all are killed at the end."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.processes: list[subprocess.Popen[bytes]] = []
        self.held: set[int] = set()

    def create(self, run: str, trials: int, **sections: dict[str, Any]) -> Study:
        """Write a study file, create its study and return that."""
        metric = "val_accuracy" if "data_dir" in sections.get("task", {}) else "score"
        data = {
            "pruning": {"kind": "none"},
            "space": {"families": ["constant", "cosine", "step", "one_cycle"]},
            **sections,
            "study": {
                "name": "study",
                "trials": trials,
                "metric": metric,
                **sections.get("study", {}),
            },
            "task": {"run": run, **sections.get("task", {})},
        }
        data["space"].setdefault("base_lr", {"low": 0.01, "high": 0.3})
        self.study_file.write_text(
            "\n".join(
                f"[{section}]\n" + "\n".join(f"{key} = {_toml(v)}" for key, v in values.items())
                for section, values in data.items()
            )
        )
        spec = StudySpec.from_toml(self.study_file)
        return create_study(
            open_storage(self.url), spec, load_task(spec.task.run, spec.task_options())
        )

    @property
    def study_file(self) -> Path:
        return self.folder / "study.toml"

    def study(self) -> Study:
        """Open the study with connections of its own."""
        return open_study(open_storage(self.url, create=False))

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start `lrsearch` with these arguments; what it says goes to a file."""
        if args[0] in ("launch", "resume", "work") and "--device" not in args:
            args = (*args, "--device", "cpu")
        return self.run(sys.executable, "-m", "lrsearch", *args)

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command here, with this place's storage; what it says goes to a file."""
        path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "LRSEARCH_STORAGE": self.url,
            "PYTHONPATH": os.pathsep.join(path),
        }
        with (self.folder / f"said-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process has said so far."""
        return (self.folder / f"said-{self.processes.index(process)}.log").read_text()

    def logs(self) -> str:
        """Return all that was said here, also by the workers of launchers."""
        files = [*self.folder.glob("said-*.log"), *self.folder.rglob("logs/*.log")]
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(files))

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until a process has ended; return its status."""
        self.wait_for(lambda: process.poll() is not None, "the end of a process")
        return process.returncode

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until `condition` gives something true, and return that."""
        deadline = time.monotonic() + HUNG
        while not (found := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited for {what}; logs:\n{self.logs()}")
            time.sleep(0.02)
        return found

    def wait_for_death(self, *pids: int) -> None:
        """Wait until these processes are no more."""
        self.wait_for(lambda: not any(map(lives, pids)), "the end of processes")

    def hold(self) -> None:
        """Make tasks wait after their second epoch."""
        (self.folder / "hold").touch()

    def wait_until_held(self) -> int:
        """Wait until a process waits that has not before; return its id."""
        pid = self.wait_for(lambda: self.pids_of("held") - self.held, "a task that waits").pop()
        self.held.add(pid)
        return pid

    def pids_of(self, what: str) -> set[int]:
        """Return the ids of the processes that have left a file `what-pid`."""
        return {int(path.name.split("-")[1]) for path in self.folder.glob(f"{what}-*")}

    def let_go(self) -> None:
        """Make no task wait any more."""
        (self.folder / "hold").unlink()

    def elsewhere(self) -> "Place":
        """Return another place, with a storage of its own."""
        folder = self.folder / "elsewhere"
        folder.mkdir()
        return Place(folder, f"sqlite:///{folder}/study.db")

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()


def worker_pids(study: Study) -> list[int]:
    """Return the process ids of all workers that ever joined, in order."""
    with study.storage.reading() as connection:
        query = select(workers.c.pid).where(workers.c.study_id == study.study_id)
        return list(connection.execute(query.order_by(workers.c.started)).scalars())


def who_trained(study: Study) -> list[int]:
    """Return the workers that live and were the first to train an epoch of some trial."""
    query = select(workers.c.pid).where(
        workers.c.study_id == study.study_id, workers.c.ended.is_(None), workers.c.epochs > 0
    )
    with study.storage.reading() as connection:
        return [pid for pid in connection.execute(query).scalars() if lives(pid)]


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def spawned_by(pid: int) -> set[int]:
    """Return the processes that one has spawned, as `multiprocessing` does."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and "spawn_main" in command:
            found.add(int(stat.parent.name))
    return found


def outcome(study: Study) -> list[tuple[Any, ...]]:
    """Return all that a study found: every trial's params, state, value and learning curve."""
    return [
        (
            t.number,
            t.state,
            t.params,
            t.values,
            read_metrics(study.storage, study.study_id, [t.number]),
        )
        for t in study.optuna.get_trials()
    ]


def check_curves(study: Study, device: str = "cpu") -> None:
    """Check every epoch of every trial against runs that nothing disturbs, to the last bit."""
    task = load_task(study.spec.task.run, study.spec.task_options())
    for trial in study.records():
        found = read_metrics(study.storage, study.study_id, [trial.number])
        runs = sorted({row.run for row in found})
        left_out = study.climb.longer if study.climb else None  # unless the first says too little
        assert runs in [
            [run for run in range(len(trial.rungs)) if run != other][: len(runs)]
            for other in (None, left_out)
        ]
        for number in runs:
            rows = [row for row in found if row.run == number]
            rung = trial.rungs[number]
            seed = study.spec.study.seed + rung.seed
            run = task.run(trial.schedule, epochs=rung.epochs, seed=seed, device=device)
            for row, progress in zip(rows, run, strict=False):
                metrics = {name: float(value) for name, value in progress.metrics.items()}
                expected = (progress.epoch, progress.step, progress.lr, metrics)
                found_here = (row.epoch, row.step, row.lr, row.metrics)
                assert repr(found_here) == repr(expected)  # NaN is NaN
        if trial.diverged is None and trial.duplicate_of is None:
            values = {trial.rungs[run].step: math.nan for run in trial.stopped}
            for row in found:
                rung = trial.rungs[row.run]
                ends = row.epoch == rung.epochs
                if ends or study.spec.compares_epochs:
                    step = rung.step if ends else row.epoch
                    values[step] = row.metrics[study.spec.study.metric]
            reports, values = (sorted(each.items()) for each in (trial.reports, values))
            assert repr(reports) == repr(values), f"trial {trial.number}"  # NaN is NaN


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)
