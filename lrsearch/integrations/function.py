"""A plain function as a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import TaskError
from lrsearch.schedules import Schedule
from lrsearch.tasks import Progress


def function_task(
    train: Callable[..., Any], *, epochs: int, steps_per_epoch: int, metric: str = "val_loss"
) -> FunctionTask:
    """Make a task of a function `train(schedule, epochs, seed)`.

    The function trains `epochs` epochs, each update with the rate
    `schedule.lr(step, epochs * steps_per_epoch)`. What it may return:

    - an iterator that yields after each epoch: a number, a dict of metrics, or a `Progress`.
      Then it can be pruned within a run, and with `Progress(…, capture=…)` resumed;
    - a number or a dict of metrics, at the end. Then trials are pruned only between runs (on the
      horizons, as is the default), a worker that dies starts its run over, and a run counts as one
      epoch where a study has a budget of epochs.

    Where it has arguments `device` ("cpu" or "cuda") or `state` (what `capture` returned, or
    `None`), it gets those too; without `device` it trains where it likes, without `state` an
    interrupted run starts over. The seed is the function's to use.

    Args:
        train: the function.
        epochs: the length of the full run.
        steps_per_epoch: updates in an epoch.
        metric: what a bare number is called.

    Raises:
        TaskError: if the function cannot be called with a schedule, epochs and a seed.

    Example:
        >>> def train(schedule, epochs, seed):
        ...     weight = 1.0
        ...     for epoch in range(epochs):
        ...         for step in range(10 * epoch, 10 * (epoch + 1)):
        ...             weight -= schedule.lr(step, 10 * epochs) * weight
        ...         yield abs(weight)
        >>> task = function_task(train, epochs=2, steps_per_epoch=10)
        >>> from lrsearch import Schedule, families
        >>> schedule = Schedule(families["constant"](), base_lr=0.5)
        >>> [p.metrics for p in task.run(schedule, epochs=2, seed=0, device="cpu")]
        [{'val_loss': 0.0009765625}, {'val_loss': 9.5367431640625e-07}]
    """
    return FunctionTask(train, epochs, steps_per_epoch, metric)


@dataclass(frozen=True)
class FunctionTask:
    """What `function_task` returns; see there."""

    train: Callable[..., Any]
    epochs: int
    steps_per_epoch: int
    metric: str = "val_loss"

    def __post_init__(self) -> None:
        if not callable(self.train):
            raise TaskError(f"train must be a function, but is a {type(self.train).__name__}")
        try:
            inspect.signature(self.train).bind(None, epochs=1, seed=0, **self._more("cpu", None))
        except TypeError as error:
            name = getattr(self.train, "__name__", "train")
            raise TaskError(
                f"{name} cannot be called ({error}); define it as {name}(schedule, epochs, seed)"
            ) from None

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train; see `lrsearch.tasks.Task.run`."""
        result = self.train(schedule, epochs=epochs, seed=seed, **self._more(device, state))
        if not isinstance(result, Iterator):
            yield self._progress(epochs, result)
            return
        try:
            for epoch, shown in enumerate(result, 1):
                yield self._progress(epoch, shown)
        finally:
            if close := getattr(result, "close", None):
                close()

    def _more(self, device: str, state: dict[str, Any] | None) -> dict[str, Any]:
        """Return those of the further arguments that the function takes."""
        known = inspect.signature(self.train).parameters
        return {k: v for k, v in (("device", device), ("state", state)) if k in known}

    def _progress(self, epoch: int, shown: Any) -> Progress:
        if isinstance(shown, Progress):
            return shown
        return Progress(epoch, shown if isinstance(shown, Mapping) else {self.metric: shown})
