"""A small study for fault injection, and forks to inject faults in.

Its task trains in no time, and its checkpoints are real. What a fault hits runs in a fork of a
process that has imported all, so that hundreds of faults take minutes.
"""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
import torch
from sqlalchemy import make_url

from lrsearch import Progress, StudySpec, create_study, open_storage, open_study
from lrsearch.storage import NoTrialReason, Storage
from lrsearch.study import Study
from lrsearch.worker import Grouping, Run, Trainer, work
from lrsearch.worker import worker as worker_module
from tests.servers import execute

NAME = "faults"
TRIALS = 4
TOGETHER = 3
"""Trials that train together."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Toy:
    """Weights that every update changes, so that one lost or doubled shows in all that follow."""

    epochs = 4
    steps_per_epoch = 10
    metric_names = ("score", "train_loss")

    def run(self, schedule, *, epochs, seed, device, state=None):
        weights = state["weights"] if state else torch.ones(4, dtype=torch.float64)
        for epoch in range(state["epoch"] if state else 0, epochs):
            noise = np.random.default_rng([seed, epoch]).normal(size=(self.steps_per_epoch, 4))
            for step in range(self.steps_per_epoch):
                at = epoch * self.steps_per_epoch + step
                rate = schedule.lr(at, epochs * self.steps_per_epoch)
                weights = weights - rate * (weights + torch.from_numpy(noise[step]))
            loss = float(weights.square().sum())
            yield Progress(
                epoch + 1,
                {"score": -loss, "train_loss": loss},
                step=at + 1,
                lr=rate,
                capture=lambda epoch=epoch, weights=weights: {
                    "epoch": epoch + 1,
                    "weights": weights,
                },
                curve=[(at, {"train_loss": loss / 2})],
            )


class ToyPack:
    """Runs that train in step; the trainer takes them for a pack, and their numbers are exact."""

    def __init__(self, runs: list[Run]) -> None:
        self._epochs = {
            place: run.task.run(
                run.schedule, epochs=run.epochs, seed=run.seed, device="cpu", state=run.state
            )
            for place, run in enumerate(runs)
        }

    def run(self) -> Iterator[dict[int, Progress]]:
        while self._epochs:
            rounds = {place: next(epochs, None) for place, epochs in self._epochs.items()}
            self.keep([place for place, progress in rounds.items() if progress])
            if self._epochs:
                yield {place: rounds[place] for place in self._epochs}

    def keep(self, numbers: Collection[int]) -> None:
        self._epochs = {place: self._epochs[place] for place in numbers if place in self._epochs}


def train_in_packs() -> None:
    """Have this process's workers train several trials together, as on a device that packs."""
    worker_module.choose_grouping = lambda *args: Grouping(TOGETHER, packs=True)
    Trainer._together = lambda self, group, runs: ToyPack(runs)


def make_study(url: str, **sections: Any) -> Study:
    """Create the study: trials climb two horizons and further seeds."""
    spec = StudySpec.from_dict(
        {
            "study": {"name": NAME, "trials": TRIALS, "metric": "score"},
            "task": {"run": "tests.faulty:Toy"},
            "space": {"families": ["constant", "cosine", "step"]},
            "sampler": {"kind": "random"},  # what it suggests depends on a trial's number alone
            "pruning": {"kind": "rungs", "horizons": [2, 4], "reduction_factor": 2, "seeds": 2},
            **sections,
        }
    )
    return create_study(open_storage(url), spec, Toy())


def open_again(url: str) -> Study:
    return open_study(open_storage(url, create=False), NAME)


def finish(url: str) -> NoTrialReason | None:
    """Work on the study to its end, as a fresh worker does."""
    train_in_packs()
    return work(url, NAME, "cpu")


def warm_up(folder: Path) -> None:
    """Do in this process once what its forks are to do, so that they find all of it imported."""
    url = f"sqlite:///{folder}/warm.db"
    study = make_study(url)
    finish(url)
    list(study.records(epochs=True))
    study.storage.engine.dispose()
    gc.collect()
    gc.freeze()  # so that forks need not copy what they only look at


class Copies:
    """A storage and its files, and copies of both in which faults are injected.

    Args:
        folder: where they are; on PostgreSQL only files.
        server: the URL of a PostgreSQL server; `None` for SQLite.
    """

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder = folder
        self.server = server and make_url(server)
        self.url = self._make("original", None)

    @contextmanager
    def copy(self) -> Iterator[tuple[str, Path]]:
        """Copy both; yield the copy's URL and folder."""
        name = uuid4().hex[:12]
        url = self._make(name, "original")
        try:
            yield url, self.folder / name
        finally:
            shutil.rmtree(self.folder / name)
            if self.server:
                execute(self.server, f"DROP DATABASE test_{name}")

    def close(self) -> None:
        """Drop the original too."""
        if self.server:
            execute(self.server, "DROP DATABASE test_original")

    def _make(self, name: str, template: str | None) -> str:
        folder = self.folder / name
        if template:
            shutil.copytree(self.folder / template, folder)
        else:
            folder.mkdir(parents=True)
        if self.server is None:
            return f"sqlite:///{folder}/study.db"
        of = f" TEMPLATE test_{template}" if template else ""
        execute(self.server, f"CREATE DATABASE test_{name}{of}")
        os.environ["LRSEARCH_FILES"] = str(folder)
        url = self.server.set(database=f"test_{name}").render_as_string(hide_password=False)
        engine = SimpleNamespace(url=make_url(url))
        for files in folder.iterdir():  # they are named by the URL
            files.rename(Storage.files.fget(SimpleNamespace(engine=engine)))
        return url


@dataclass(frozen=True)
class End:
    """How a fork ended: what its function returned or raised (a text), or what killed it."""

    value: Any = None
    error: str = ""
    signal: int = 0


def in_fork(function: Callable[[], Any]) -> End:
    """Call a function in a fork of this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            end = End(function())
        except BaseException:
            end = End(error=traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(end, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return End(signal=os.WTERMSIG(status))
    end = pickle.loads(content)
    assert isinstance(end, End)
    return end
