"""A network that has learned: trained beyond its first plateau, on which the loss hardly moves."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.diagnosis.range_test import kept_generators, kept_network
from lrsearch.schedules import Constant, Schedule
from lrsearch.tasks import Supervised

FALL = 0.5
"""A network has learned when its loss has fallen by this share of the first."""
LATEST = 10
"""Losses whose mean is looked at: a single batch says little."""
MOST = 150
"""Updates after which a rate is given up."""


@dataclass(frozen=True)
class Start:
    """A network that was trained until it had learned; `state` is none where it never had.

    `updates` were trained in all, the last at `rate`.
    """

    state: dict[str, Any] | None
    rate: float
    updates: int


def learn(task: Supervised, rates: Iterable[float], *, seed: int, device: str) -> Start:
    """Train at a constant rate until half of the loss is gone; of some rates the first that does.

    The network and torch's generators are afterwards as they were.

    Args:
        task: what is trained.
        rates: tried in turn; at least one.
        seed: of the weights and the order of the data.
        device: a torch device.
    """
    updates, rate = 0, 0.0
    for rate in rates:
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
