"""The first plateau: a loss that hardly moves for a while, whatever the rate, and then falls."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.diagnosis.range_test import Growth, kept_generators, kept_network
from lrsearch.schedules import Constant, ScheduleLR
from lrsearch.tasks import Supervised

FALL = 0.2
"""By this share of its first the loss falls where a network has left its first plateau."""
LATEST = 10
"""Losses whose mean is looked at: a single batch says little."""
AROUND = 10.0
"""The rate grows from this part of the one at which the loss rose without having fallen, to this
multiple of it: on the plateau that rate is only roughly known."""
MOST = 200
"""In so many updates, so five times as slowly as in a coarse test."""


@dataclass(frozen=True)
class Start:
    """A network that was trained until its loss fell; `state` is none where it never did.

    `rate` is that of the last of its `updates`.
    """

    state: dict[str, Any] | None
    rate: float
    updates: int


def leave_plateau(task: Supervised, edge: float, *, seed: int, device: str) -> Start:
    """Train at a slowly growing rate until the loss has left its first plateau.

    The network and torch's generators are afterwards as they were.

    Args:
        task: what is trained.
        edge: about the highest rate that trains.
        seed: of the weights and the order of the data.
        device: a torch device.
    """
    growth = Growth(Constant(), edge * AROUND, lowest=edge / AROUND)
    losses: list[float] = []
    rate, state = growth.lowest, None
    with kept_generators(device), kept_network(task, seed, device, rate) as training:
        scheduler = ScheduleLR(training.optimizer, growth, MOST)
        for _, update in zip(range(MOST), training.updates(), strict=False):
            losses.append(float(update.loss))
            rate = update.lr
            latest = float(np.mean(losses[-LATEST:]))
            if len(losses) >= LATEST and losses[0] - latest > FALL * abs(losses[0]):
                state = deepcopy(training.state_dict())
            if state is not None or not np.isfinite(losses[-1]):
                break
            scheduler.step()
    return Start(state, rate, len(losses))
