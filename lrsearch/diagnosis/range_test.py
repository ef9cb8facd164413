"""The learning-rate range test: the rate grows with every update until the loss blows up."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrsearch.errors import TaskError
from lrsearch.schedules import Constant, Schedule, ScheduleLR
from lrsearch.tasks import Progress, Supervised, Task, Training, run_task

LOWEST, HIGHEST = 1e-7, 100.0
"""The rates between which a test runs if nothing is known."""
BLOW_UP = 2.0
"""The test ends where the smoothed loss passes this multiple of its best."""
_MEMORY = 0.2
"""How wide the loss is smoothed to see that, in decades of the rate."""


@dataclass(frozen=True)
class RangeTest:
    """One range test: rates, and the loss that was found at each, [N].

    Of a `Supervised` task these are every update's, its batch's loss before it; of any other task
    every epoch's, its last rate and its loss. `updates` is what the test cost. `ended` says why it
    ended: "the loss blew up", "the loss was not finite", "the highest rate".
    """

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    updates: int
    ended: str


@dataclass(frozen=True)
class _Growth(Schedule):
    """A schedule whose rate grows by the same factor in every update, up to `base_lr`."""

    lowest: float = LOWEST

    def lr(self, step: int, total_steps: int, losses: Sequence[float] = ()) -> float:
        return self.lowest * math.pow(self.base_lr / self.lowest, step / total_steps)


def range_test(
    task: Task,
    *,
    seed: int,
    device: str,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    per_decade: int = 50,
    state: Mapping[str, Any] | None = None,
) -> RangeTest:
    """Train at a rate that grows by one factor with every update, until the loss blows up.

    Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The network,
    the optimizer and torch's generators are afterwards as they were, also if it fails.

    Args:
        task: what is trained; of several parameter groups the first gets the rate.
        seed: of the weights and the order of the data.
        device: a torch device.
        lowest: the rate of the first update.
        highest: where the test ends at the latest.
        per_decade: in how many points of the test the rate grows tenfold: updates of a `Supervised`
            task, epochs of any other, which only says how an epoch ended.
        state: of a `Supervised` task, the `Training.state_dict` to begin from.

    Raises:
        TaskError: if the very first loss is not finite, or the task gives none.
    """
    length = round(math.log10(highest / lowest) * per_decade)
    growth = _Growth(Constant(), highest, lowest=lowest)
    memory = math.exp(-1 / (_MEMORY * per_decade))
    lrs: list[float] = []
    losses: list[float] = []
    ended = "the highest rate"
    smoothed, best = 0.0, math.inf
    if isinstance(task, Supervised):
        updates_each, points = 1, _by_update(task, growth, length, seed, device, state)
    else:
        updates_each, points = task.steps_per_epoch, _by_epoch(task, growth, length, seed, device)
    with closing(points) as found:
        for lr, loss in found:
            if not math.isfinite(loss):
                ended = "the loss was not finite"
                break
            lrs.append(lr)
            losses.append(loss)
            smoothed = memory * smoothed + (1 - memory) * loss
            debiased = smoothed / (1 - memory ** len(losses))
            if debiased > BLOW_UP * best:
                ended = "the loss blew up"
                break
            best = min(best, debiased)
    if not losses:
        raise TaskError(
            f"the first loss is not finite, at the rate {lowest:g}: the fault lies in the network, "
            "the loss or the data, not in the rate"
        )
    return RangeTest(np.array(lrs), np.array(losses), len(losses) * updates_each, ended)


def _by_update(
    task: Supervised,
    growth: _Growth,
    length: int,
    seed: int,
    device: str,
    state: Mapping[str, Any] | None,
) -> Generator[tuple[float, float]]:
    """Yield the rate of each update, and the loss of its batch before it."""
    with kept_generators(device), kept_network(task, seed, device, growth.lowest) as training:
        if state is not None:
            training.load_state_dict(state)
        scheduler = ScheduleLR(training.optimizer, growth, length)
        for _, update in zip(range(length), training.updates(), strict=False):
            yield update.lr, float(update.loss)
            scheduler.step()


def _by_epoch(
    task: Task, growth: _Growth, length: int, seed: int, device: str
) -> Generator[tuple[float, float]]:
    """Yield the last rate of each epoch, and the loss that the task says it ended with."""
    total_steps = length * task.steps_per_epoch
    run = run_task(task, growth, epochs=length, seed=seed, device=device)
    with kept_generators(device), closing(run):
        for progress in run:
            step = progress.epoch * task.steps_per_epoch - 1
            yield growth.lr(step, total_steps), math.nan if progress.diverged else _loss(progress)


def _loss(progress: Progress) -> float:
    for name in ("train_loss", "val_loss"):
        if name in progress.metrics:
            return progress.metrics[name]
    raise TaskError(
        f"the task gives {', '.join(progress.metrics) or 'no metrics'}, but no loss to look at; "
        'yield "train_loss" among its metrics'
    )


@contextmanager
def kept_generators(device: str) -> Iterator[None]:
    """Leave torch's random generators as they were."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def kept_network(task: Supervised, seed: int, device: str, lr: float) -> Iterator[Training]:
    """Start a training, and leave its network as it was: a task may hand out its own."""
    training = task.start(seed=seed, device=device, lr=lr)
    mode = training.network.training
    state = {key: value.clone() for key, value in training.network.state_dict().items()}
    try:
        yield training
    finally:
        training.network.load_state_dict(state)
        training.network.train(mode)
        training.optimizer.zero_grad()
