"""Whether trials of a task can train together."""

from __future__ import annotations

from lrsearch.errors import TaskError
from lrsearch.tasks.stack import Stack
from lrsearch.tasks.supervised import Supervised
from lrsearch.tasks.task import Task
from lrsearch.tasks.training import Data

PROBED = 8
"""Examples on which `why_not` tries a network."""


def why_not(task: Task) -> str | None:
    """Return why trials of a task cannot train together; `None` if they can.

    It tries one update and one evaluation of two members on a few examples on the CPU.
    """
    if not isinstance(task, Supervised) or type(task).run is not Supervised.run:
        return "the task has a training loop of its own"
    if callable(task.optimizer):
        return "the optimizer is one of the task's own"
    training = task.start(seed=0, device="cpu", lr=1e-3)
    train, validation = (
        (inputs[:PROBED], targets[:PROBED])
        for inputs, targets in (training.data.train, training.data.validation)
    )
    training.data, training.batch_size = Data(train, validation), min(PROBED, task.batch_size)
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
