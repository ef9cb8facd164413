"""The learning-rate range test: the rate grows with every mini-batch until the loss blows up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lrsearch.errors import TaskError
from lrsearch.schedules import ScheduleLR
from lrsearch.tasks import Supervised, Training

LOWEST, HIGHEST = 1e-7, 100.0
"""The rates between which the test runs."""
UPDATES_PER_DECADE = 100
BLOW_UP = 2.0
"""The test ends where the smoothed loss passes this multiple of its best."""
_MEMORY = 0.95


@dataclass(frozen=True)
class RangeTest:
    """One range test: the rate that each update used and its batch's loss before it.

    `ended` says why it ended: "the loss blew up", "the loss was not finite", "the highest rate".
    """

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    ended: str


@dataclass(frozen=True)
class _Growth:
    """A schedule whose rate grows by the same factor in every update."""

    factor: float

    def lr(self, step: int, total_steps: int, losses: Sequence[float] = ()) -> float:
        return LOWEST * self.factor**step

    def momentum(self, step: int, total_steps: int) -> None:
        return None


def range_test(task: Supervised, *, seed: int, device: str) -> RangeTest:
    """Train from 1e-7 up, the rate growing tenfold in 100 updates, until the loss blows up.

    Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The network,
    the optimizer and torch's generators are afterwards as they were, also if it fails.

    Args:
        task: what is trained; of several parameter groups the first gets the rate.
        seed: of the weights and the order of the data.
        device: a torch device.

    Raises:
        TaskError: if the very first loss is not finite.
    """
    steps = round(math.log10(HIGHEST / LOWEST) * UPDATES_PER_DECADE)
    growth = _Growth(10 ** (1 / UPDATES_PER_DECADE))
    lrs: list[float] = []
    losses: list[float] = []
    ended = "the highest rate"
    smoothed, best = 0.0, math.inf
    with kept_generators(device), kept_network(task, seed, device, LOWEST) as training:
        scheduler = ScheduleLR(training.optimizer, growth, steps)
        for step, update in zip(range(steps), training.updates(), strict=False):
            loss = float(update.loss)
            if not math.isfinite(loss):
                ended = "the loss was not finite"
                break
            lrs.append(update.lr)
            losses.append(loss)
            smoothed = _MEMORY * smoothed + (1 - _MEMORY) * loss
            debiased = smoothed / (1 - _MEMORY ** (step + 1))
            if debiased > BLOW_UP * best:
                ended = "the loss blew up"
                break
            best = min(best, debiased)
            scheduler.step()
    if not losses:
        raise TaskError(
            f"the first loss is not finite, at the rate {LOWEST:g}: the fault lies in the network, "
            "the loss or the data, not in the rate"
        )
    return RangeTest(np.array(lrs), np.array(losses), ended)


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
