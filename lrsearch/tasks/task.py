"""What a task is: a generator of progress that knows nothing of Optuna."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lrsearch.errors import LrsearchError, TaskError
from lrsearch.schedules import Clock, LrEvery, Schedule
from lrsearch.tasks.devices import devices_of


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an epoch.

    Args:
        epoch: epochs trained so far, from 1.
        metrics: name → value. One that is not finite says that the run diverged. Of a task whose
            schedules may read losses (`plateau`), `val_loss` is the one they read unless they name
            another.
        step: updates so far; `epoch` · `steps_per_epoch` if left out. Of a diverged run, the update
            at which it happened, from 0.
        lr: the learning rate of the last update; the schedule's own if left out.
        capture: returns what `run` needs to go on from here as `state` (tensors, numbers, strings,
            lists, dicts). It is called, if at all, before the run goes on. Without it a run that
            is interrupted starts over. Its tensors may be the run's own: save or copy them first.
        test: returns metrics (`test_…`) on data that no search looks at. It is called, if at all,
            after the last epoch of a run that confirms a schedule, before the run goes on.
        curve: how the epoch went within, if the task says: a few pairs of the updates so far and
            what was measured since the pair before, such as `(50, {"train_loss": 1.9})`.
        learned: whether the run's loss has fallen by now below what a guess gives; `None` if the
            task does not say. A run that ends without has failed to train.
        baseline: the loss that the run must beat to have learned, if the task says.
        schedule: what the run's schedule has come to by now, where a warmup is adjusted as it
            trains.

    Example:
        >>> Progress(1, {"val_loss": 0.7}).diverged, Progress(2, {"val_loss": math.nan}).diverged
        (False, True)

    Raises:
        TaskError: if the epoch or a metric breaks its rule.
    """

    epoch: int
    metrics: Mapping[str, float]
    step: int | None = None
    lr: float | None = None
    capture: Callable[[], dict[str, Any]] | None = None
    test: Callable[[], Mapping[str, float]] | None = None
    curve: Sequence[tuple[int, Mapping[str, float]]] = ()
    learned: bool | None = None
    baseline: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if type(self.epoch) is not int or self.epoch < 1:
            raise TaskError(
                f"Progress.epoch counts the epochs trained so far, from 1, but got {self.epoch!r}; "
                "after the first epoch it is 1"
            )
        if not isinstance(self.metrics, Mapping):
            raise TaskError(
                f'Progress.metrics must be a dict such as {{"val_loss": 0.7}}, but got a '
                f"{type(self.metrics).__name__}"
            )
        for name, value in self.metrics.items():
            if not isinstance(value, Real) or isinstance(value, bool):
                raise TaskError(
                    f"the metric {name!r} of epoch {self.epoch} must be a number, but is a "
                    f"{type(value).__name__}; convert it with float(…)"
                )

    @property
    def diverged(self) -> bool:
        """Whether a metric is not finite."""
        return not all(math.isfinite(value) for value in self.metrics.values())

    def place(self, schedule: Schedule, task: Task, epochs: int) -> tuple[int, float]:
        """Return `step` and `lr` in a run of `epochs`; where they were left out, what they mean."""
        clock = clock_of(task, epochs, schedule)
        trained = clock.lead_steps + self.epoch * task.steps_per_epoch
        step = trained if self.step is None else self.step
        last = step if self.diverged else max(0, step - 1)
        lr = clock.lr(schedule, last) if self.lr is None else self.lr
        return step, lr


@runtime_checkable
class Task(Protocol):
    """What a study trains.

    A task may also have `metric_names` (then a study's metric is checked before any training),
    `base_lr`, the domain that is searched where a study names none, `lr_every` ("epoch" if the rate
    changes only once an epoch), `prepends_warmup`: true if it trains the updates of a prepended
    warmup before its first epoch, so that the run has
    `clock_of(task, epochs, schedule).total_steps` updates, and `adjusts_warmup`: true if it
    lengthens a warmup where the schedule asks for it (`lrsearch.tasks.watch.Watch`), and says in
    `Progress.schedule` what came out. One that trains a run on all the devices that `device` names
    says so by a `parallel` that is not `None`. Two are kept with the study and go with its winner:
    `data_checksum`, a text, and `settings`, plain JSON with the optimizer (as in a study file), the
    batch size and the like.

    Example:
        One that goes on where it was interrupted:

        >>> from functools import partial
        >>> class Descent:
        ...     epochs, steps_per_epoch = 3, 10
        ...
        ...     def run(self, schedule, *, epochs, seed, device, state=None):
        ...         weight = state["weight"] if state else 1.0
        ...         for epoch in range(state["epoch"] if state else 0, epochs):
        ...             for step in range(10 * epoch, 10 * (epoch + 1)):
        ...                 weight -= schedule.lr(step, 10 * epochs) * weight
        ...             capture = partial(dict, epoch=epoch + 1, weight=weight)
        ...             yield Progress(epoch + 1, {"val_loss": weight}, capture=capture)
        >>> from lrsearch import Schedule, families
        >>> schedule = Schedule(families["linear"](), base_lr=0.1)
        >>> whole = list(run_task(Descent(), schedule, epochs=3, seed=0, device="cpu"))
        >>> state = whole[0].capture()
        >>> again = Descent().run(schedule, epochs=3, seed=0, device="cpu", state=state)
        >>> [p.metrics for p in again] == [p.metrics for p in whole[1:]]
        True
    """

    @property
    def epochs(self) -> int:
        """The length of the full run."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        ...

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterable[Progress]:
        """Train from scratch, or on from `state`, and yield once per epoch.

        A task needs no change to be trained on shorter horizons: `epochs` says how long a run is.

        Args:
            schedule: gives the rate of every update: `schedule.lr(step, epochs · steps_per_epoch)`.
            epochs: how long this run is; the schedule is to be trained whole in it.
            seed: the same seed and device give the same numbers.
            device: a torch device, such as "cpu" or "cuda"; of a `parallel` task all that are its
                trial's, such as "cuda:0,cuda:1".
            state: what `Progress.capture` returned, or `None`.
        """
        ...


def clock_of(task: Task, epochs: int | None = None, schedule: Schedule | None = None) -> Clock:
    """Return the clock of a task's run of so many epochs; of its full run if left out.

    With a schedule it is that of the run with what the schedule prepends to it.

    Raises:
        TaskError: if the schedule prepends a warmup, and the task trains no run that is longer; or
            is to adjust one, and the task does not.
    """
    every: LrEvery = getattr(task, "lr_every", "update")
    clock = Clock((epochs or task.epochs) * task.steps_per_epoch, task.epochs, every)
    if schedule and schedule.adjusts and not can_adjust(task):
        raise TaskError(
            f"a {type(task).__name__} does not say that it adjusts a warmup as it trains "
            "(adjusts_warmup = True); leave adjust out of the warmup"
        )
    if schedule is None or schedule.warmup is None or not schedule.warmup.prepend:
        return clock
    if not can_prepend(task):
        raise TaskError(
            f"a {type(task).__name__} does not say that it trains a prepended warmup, which makes "
            "the run longer (prepends_warmup = True); leave prepend out of the warmup"
        )
    return clock.prepended(schedule)


def check_devices(task: Task, device: str) -> None:
    """Refuse several devices for a task that does not say that it trains on them.

    Raises:
        TaskError: if it does not.
    """
    if len(devices_of(device)) > 1 and getattr(task, "parallel", None) is None:
        raise TaskError(
            f"each trial has the devices {device}, and a {type(task).__name__} trains on one; "
            'set task.parallel = "ddp" for a Supervised task, give one of your own an attribute '
            "`parallel` if it reads them all, or leave out --gpus-per-trial"
        )


def can_prepend(task: Task) -> bool:
    """Return whether a task trains runs that a prepended warmup makes longer."""
    return bool(getattr(task, "prepends_warmup", False))


def can_adjust(task: Task) -> bool:
    """Return whether a task lengthens a warmup as it trains, where the schedule asks for it."""
    return bool(getattr(task, "adjusts_warmup", False))


def run_task(
    task: Task,
    schedule: Schedule,
    *,
    epochs: int,
    seed: int,
    device: str,
    state: dict[str, Any] | None = None,
) -> Generator[Progress]:
    """Run a task, yield what it yields, and close it at the end.

    Raises:
        TaskError: if it yields no `Progress` after each epoch, in order, or is given several
            devices and trains on one.
    """
    name = f"{type(task).__name__}.run"
    check_devices(task, device)
    run = task.run(schedule, epochs=epochs, seed=seed, device=device, state=state)
    if not isinstance(run, Iterable):
        raise TaskError(
            f"{name} must yield a Progress after each epoch, but returned a "
            f"{type(run).__name__}; write `yield Progress(epoch, metrics)` in its loop"
        )
    last = 0
    try:
        for progress in run:
            if not isinstance(progress, Progress):
                raise TaskError(
                    f"{name} must yield a Progress after each epoch, but yielded a "
                    f"{type(progress).__name__}; wrap it: Progress(epoch, metrics)"
                )
            if not last < progress.epoch <= epochs:
                raise TaskError(
                    f"{name} yielded epoch {progress.epoch} after epoch {last} of a run of "
                    f"{epochs}; count the epochs of the run from 1"
                )
            last = progress.epoch
            yield progress
    finally:
        if close := getattr(run, "close", None):
            close()


def check_protocol(task: Task, name: str) -> None:
    """Refuse a task whose attributes or signature no run could use; nothing is trained.

    Args:
        task: what is checked.
        name: what it is called in the message.

    Raises:
        TaskError: naming what is wrong.
    """
    for key in ("epochs", "steps_per_epoch"):
        value = getattr(task, key)
        if type(value) is not int or value < 1:
            raise TaskError(f"{name}: {key} must be a whole number from 1, but is {value!r}")
    try:
        inspect.signature(task.run).bind(None, epochs=1, seed=0, device="cpu", state=None)
    except TypeError as error:
        raise TaskError(
            f"{name}: run cannot be called ({error}); define it as "
            "run(self, schedule, *, epochs, seed, device, state=None)"
        ) from None


def first_progress(
    task: Task, schedule: Schedule, *, epochs: int, seed: int, device: str, name: str
) -> Progress:
    """Train the first epoch of a run, to see that the task works; return what it shows.

    Raises:
        TaskError: if it fails, ends at once, breaks the protocol, or is not finite.
    """
    with closing(run_task(task, schedule, epochs=epochs, seed=seed, device=device)) as run:
        try:
            progress = next(run, None)
        except LrsearchError:
            raise
        except Exception as error:
            *_, last = traceback.extract_tb(error.__traceback__)
            raise TaskError(
                f"the first epoch of {name} failed: {type(error).__name__}: {error} "
                f"({Path(last.filename).name}, line {last.lineno})"
            ) from error
    if progress is None:
        raise TaskError(f"{name}: run ended without an epoch; yield a Progress after each")
    if progress.diverged:
        bad = {key: value for key, value in progress.metrics.items() if not math.isfinite(value)}
        raise TaskError(
            f"{name} diverges in its first epoch at the lowest rate of the space, "
            f"{schedule.base_lr:g}: {bad}; check the loss and the data, or lower space.base_lr"
        )
    return progress
