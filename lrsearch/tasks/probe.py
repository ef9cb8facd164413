"""How many trials are to train together: as many as make the device faster."""

from __future__ import annotations

import time

import torch

from lrsearch.devices import out_of_memory
from lrsearch.tasks.stack import Stack
from lrsearch.tasks.supervised import Supervised

MOST = 512
"""Trials in a pack, at most."""
GAIN = 1.15
"""Twice the members must train this many times as many updates in a second."""
UPDATES = 20


def best_size(task: Supervised, device: str, most: int = MOST) -> int:
    """Return with how many members a pack trains most on a device, found by short trials.

    Members are doubled until that brings no more, the device has no memory for them, or there would
    be more than `most`.
    """
    size, best = 1, 0.0
    while size <= min(most, MOST):
        try:
            rate = _rate(task, size, device)
        except Exception as error:  # CUDA's libraries have their own for it
            if size == 1 or not out_of_memory(error):
                raise
            break
        if rate < GAIN * best:
            break
        size, best = 2 * size, rate
    return max(1, size // 2)


def _rate(task: Supervised, members: int, device: str) -> float:
    """Return updates of all members in a second."""
    training = task.start(seed=0, device=device, lr=1e-3)
    stack = Stack(training, task.named_metrics("val"), members, UPDATES)
    stack.update(UPDATES)
    _wait(device)
    began = time.perf_counter()
    stack.update(UPDATES)
    _wait(device)
    return members * UPDATES / (time.perf_counter() - began)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
