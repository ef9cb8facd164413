"""The first plateau: a loss that hardly moves for a while, whatever the rate, and then falls."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.diagnosis.range_test import kept_generators, kept_network
from lrsearch.schedules import Constant, Schedule
from lrsearch.tasks import Supervised

FALL = 0.2
"""By this share of its first the loss falls where a network has left its first plateau."""
LATEST = 10
"""Losses whose mean is looked at: a single batch says little."""
MOST = 150
"""Updates after which a rate is given up."""
MULTIPLES = (0.5, 4.0, 0.125)
"""Of the rate at which the loss rose without having fallen, those that are tried in turn: on the
plateau that rate is known only roughly."""


@dataclass(frozen=True)
class Start:
    """A network that was trained until its loss fell; `state` is none where it never did.

    `updates` were trained in all, the last at `rate`.
    """

    state: dict[str, Any] | None
    rate: float
    updates: int


def leave_plateau(task: Supervised, edge: float, *, seed: int, device: str) -> Start:
    """Train at a constant rate until the loss has left its first plateau.

    The network and torch's generators are afterwards as they were.

    Args:
        task: what is trained.
        edge: about the highest rate that trains.
        seed: of the weights and the order of the data.
        device: a torch device.
    """
    updates, rate = 0, edge
    for multiple in MULTIPLES:
        rate = multiple * edge
        state, trained = _train(task, rate, seed, device)
        updates += trained
        if state is not None:
            return Start(state, rate, updates)
    return Start(None, rate, updates)


def _train(
    task: Supervised, rate: float, seed: int, device: str
) -> tuple[dict[str, Any] | None, int]:
    """Return the state in which the loss has fallen, if it has, and how many updates that took."""
    losses: list[float] = []
    with kept_generators(device), kept_network(task, seed, device, rate) as training:
        Schedule(Constant(), rate).torch(training.optimizer, MOST)  # sets the rate of each group
        for _, update in zip(range(MOST), training.updates(), strict=False):
            losses.append(float(update.loss))
            latest = float(np.mean(losses[-LATEST:]))
            if len(losses) >= LATEST and losses[0] - latest > FALL * abs(losses[0]):
                return deepcopy(training.state_dict()), len(losses)
            if not np.isfinite(losses[-1]):
                break
    return None, len(losses)
