"""Tasks for workers in trouble. Files in the working directory say when they wait or fail."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lrsearch import Progress
from lrsearch.tasks import devices_of


def wait_while_held(epoch):
    """Wait after the second epoch while there is a file `hold`, and leave one that says so."""
    while epoch == 2 and Path("hold").exists():
        Path(f"held-{os.getpid()}").touch()
        time.sleep(0.01)


class Fake:
    """Trains nothing: its score is how near `base_lr` is to 0.1, on a log axis."""

    epochs = 4
    steps_per_epoch = 50
    metric_names = ("score",)

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range((state or {"epoch": 0})["epoch"] + 1, epochs + 1):
            self.before(epoch)
            score = -abs(math.log10(schedule.base_lr / 0.1)) - 1 / epoch
            step = epoch * self.steps_per_epoch
            yield Progress(
                epoch,
                {"score": score},
                step=step,
                lr=schedule.lr(step - 1, epochs * self.steps_per_epoch),
                capture=lambda epoch=epoch: {"epoch": epoch},
            )
            wait_while_held(epoch)

    def before(self, epoch):
        """Make trouble."""


class Several(Fake):
    """Trains a trial on all its devices: its score is how many they are."""

    parallel = "its own way"

    def run(self, schedule, *, device, **kwargs):
        for progress in super().run(schedule, device=device, **kwargs):
            yield replace(progress, metrics={"score": float(len(devices_of(device)))})


class Raises(Fake):
    def before(self, epoch):
        if epoch == 2 and not Path("mended").exists():
            raise RuntimeError("the wire is loose")


class Lucky(Fake):
    """Has luck with its seed; above a rate it diverges on all seeds but the first.

    Takes `seconds` for an epoch; `luck` is its standard deviation.
    """

    def __init__(
        self, fragile_above: float = math.inf, seconds: float = 0.0, luck: float = 0.3
    ) -> None:
        self.fragile_above = fragile_above
        self.seconds = seconds
        self.luck = luck

    def run(self, schedule, *, epochs, seed, device, state=None):
        luck = np.random.default_rng([seed, epochs, round(schedule.base_lr * 1e9)]).normal()
        for progress in super().run(schedule, epochs=epochs, seed=seed, device=device, state=state):
            time.sleep(self.seconds)
            score = progress.metrics["score"] + self.luck * luck
            if seed and schedule.base_lr > self.fragile_above:
                yield replace(progress, metrics={"score": math.nan})
                return
            yield replace(progress, metrics={"score": score})


class Brittle(Fake):
    """Collapses above a rate on two seeds of five; `tells` whether a run has learned."""

    holds_below = 0.05
    collapsed = -10.0

    def __init__(self, tells: bool = False) -> None:
        self.tells = tells

    def collapses(self, schedule, seed):
        return schedule.base_lr > self.holds_below and seed % 5 in (1, 4)

    def run(self, schedule, *, epochs, seed, device, state=None):
        collapses = self.collapses(schedule, seed)
        for progress in super().run(schedule, epochs=epochs, seed=seed, device=device, state=state):
            score = self.collapsed if collapses else progress.metrics["score"]
            learned = not collapses if self.tells else None
            yield replace(progress, metrics={"score": score}, learned=learned)


class Late(Fake):
    """Learns nothing in runs of fewer than four epochs."""

    epochs = 8

    def run(self, schedule, *, epochs, seed, device, state=None):
        for progress in super().run(schedule, epochs=epochs, seed=seed, device=device, state=state):
            yield replace(progress, learned=epochs >= 4)


class Greedy(Fake):
    """Fails as torch does on a GPU, as torch does on the CPU, as Python does."""

    errors = (
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    )

    def __init__(self, error: int = 0) -> None:
        self.error = self.errors[error]

    def before(self, epoch):
        raise self.error


class Crashes(Fake):
    """Dies in every second epoch, and leaves no checkpoint."""

    def run(self, schedule, **kwargs):
        for progress in super().run(schedule, **kwargs):
            yield Progress(progress.epoch, progress.metrics)

    def before(self, epoch):
        if epoch == 2:
            os._exit(7)


class Deadly(Fake):
    """Takes its process with it at high rates, as what is out of memory does."""

    def run(self, schedule, **kwargs):
        if schedule.base_lr > 0.15:
            os._exit(9)
        yield from super().run(schedule, **kwargs)


class Stubborn(Fake):
    """Does not let itself be interrupted."""

    def before(self, epoch):
        while True:
            try:
                Path(f"held-{os.getpid()}").touch()
                time.sleep(60)
            except BaseException:
                Path(f"interrupted-{os.getpid()}").touch()


class Held:
    """FashionMNIST, held after the second epoch."""

    def __init__(self, data_dir: str, epochs: int = 4, batch_size: int = 50) -> None:
        from lrsearch.tasks.fashion_mnist import task

        self.task = task(data_dir=data_dir, epochs=epochs, batch_size=batch_size)
        self.epochs = epochs
        self.metric_names = self.task.metric_names

    @property
    def steps_per_epoch(self):
        return self.task.steps_per_epoch

    def run(self, schedule, **kwargs):
        for progress in self.task.run(schedule, **kwargs):
            yield progress
            wait_while_held(progress.epoch)
