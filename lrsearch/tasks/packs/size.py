"""Whether trials of a task can train together, and how many: as many as make the device faster."""

from __future__ import annotations

import time

import torch

from lrsearch.errors import TaskError
from lrsearch.tasks.devices import out_of_memory
from lrsearch.tasks.packs.stack import Stack
from lrsearch.tasks.supervised import Supervised
from lrsearch.tasks.task import Task
from lrsearch.tasks.training import Data

MAX_PACK_SIZE = 512
"""Trials in a pack, at most."""
MIN_GAIN = 1.15
"""Twice the members must train this many times as many updates in a second."""
TIMED_UPDATES = 20
PROBED_EXAMPLES = 8
"""Examples on which `packing_obstacle` tries a network."""


def packing_obstacle(task: Task) -> str | None:
    """Return why trials of a task cannot train together; `None` if they can.

    It tries one update and one evaluation of two members on a few examples on the CPU.
    """
    if not isinstance(task, Supervised) or type(task).run is not Supervised.run:
        return "the task has a training loop of its own"
    if callable(task.optimizer):
        return "the optimizer is one of the task's own"
    training = task.start(seed=0, device="cpu", lr=1e-3)
    if not task.drop_last and len(training.data.train[1]) % task.batch_size:
        return (
            "the last batch of an epoch is smaller than the others; with task.drop_last it is not"
        )
    train, validation = (
        (inputs[:PROBED_EXAMPLES], targets[:PROBED_EXAMPLES])
        for inputs, targets in (training.data.train, training.data.validation)
    )
    training.data = Data(train, validation)
    training.batch_size = min(PROBED_EXAMPLES, task.batch_size)
    try:
        stack = Stack(training, task.named_metrics("val"), members=2, steps=1)
        stack.update(1)
        stack.evaluate()
        stack.evaluated()
    except TaskError as error:
        return str(error)
    except Exception as error:  # whatever torch, or what it cannot batch, makes of it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return f"torch.func cannot batch the network, the loss or a metric: {reason[0]}"
    return None


def best_pack_size(task: Supervised, device: str, max_size: int = MAX_PACK_SIZE) -> int:
    """Return with how many members a pack trains most on a device, found by short trials.

    Members are doubled until that brings no more, the device has no memory for them, or there would
    be more than `max_size`.
    """
    size, best = 1, 0.0
    while size <= min(max_size, MAX_PACK_SIZE):
        try:
            rate = _rate(task, size, device)
        except Exception as error:  # CUDA's libraries have their own for it
            if size == 1 or not out_of_memory(error):
                raise
            break
        if rate < MIN_GAIN * best:
            break
        size, best = 2 * size, rate
    return max(1, size // 2)


def _rate(task: Supervised, members: int, device: str) -> float:
    """Return updates of all members in a second."""
    training = task.start(seed=0, device=device, lr=1e-3)
    stack = Stack(training, task.named_metrics("val"), members, TIMED_UPDATES)
    stack.update(TIMED_UPDATES)
    _wait(device)
    began = time.perf_counter()
    stack.update(TIMED_UPDATES)
    _wait(device)
    return members * TIMED_UPDATES / (time.perf_counter() - began)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
