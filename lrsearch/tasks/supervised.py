"""A task of any network and data, trained by our own loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsearch.errors import TaskError, nearest
from lrsearch.schedules import Float, LrEvery, Schedule
from lrsearch.tasks.adam import with_betas
from lrsearch.tasks.chance import constant_guess_loss
from lrsearch.tasks.curve import within_epoch
from lrsearch.tasks.devices import devices_of
from lrsearch.tasks.history import History
from lrsearch.tasks.loop import Loss, accuracy
from lrsearch.tasks.optimizers import build_optimizer, optimizer_kind
from lrsearch.tasks.precision import PRECISIONS, Precision
from lrsearch.tasks.ranks import Leader, leading
from lrsearch.tasks.scheduled import ScheduledTraining
from lrsearch.tasks.task import Progress, Task, check_devices, clock_of
from lrsearch.tasks.training import Data, Training, restored, run_state
from lrsearch.tasks.watch import Watch


@dataclass(frozen=True)
class Supervised:
    """A task of any network and data.

    Metrics are `train_loss` and `train_` with the name of each metric (means over what the epoch
    trained on, measured as it trains, before each update, at no further pass), `val_loss` and
    `val_…` alike, and `test_…` where a schedule is confirmed; `grad_norm`, `loss_jump` and
    `loss_jump_step` tell of instability (`History`). Several times an epoch the `train_…` are kept
    as its curve (`within_epoch`).
    Every epoch trains the batches of a fresh order of the data. All randomness derives from
    the seed and the epoch, so a run goes on exactly from any epoch. The updates of a prepended
    warmup come before those of the first epoch, on orders of their own, and count as its.

    Args:
        model: makes the network.
        data: loads the data; called once.
        loss: (outputs, targets) → scalar, the mean over a batch.
        metrics: name → function like `loss`, evaluated on each batch and the validation data.
        optimizer: a name in `lrsearch.tasks.optimizers`, `{"name": …, option: value}`, or a
            callable that makes one of the network; of several parameter groups the first gets the
            schedule's rate, and the others keep their ratio to it.
        batch_size: examples in an update.
        drop_last: whether what does not fill a batch is left out of an epoch; else the last batch
            is a smaller one, and trials cannot train in packs.
        epochs: the length of the full run.
        lr_every: "update", or "epoch": the rate changes only `epochs` times in a run, and is
            `schedule.lr(epoch, epochs)` in each part; a search then counts warmups in epochs.
        clip_norm: a gradient with a larger L2 norm is scaled down to it.
        precision: "fp32", "tf32" (faster matrix products on CUDA), or "bf16" (autocast).
        parallel: "ddp": where a trial has several devices, a process on each trains its share of
            every batch, by torch's DistributedDataParallel. Losses, gradients and metrics are those
            of the whole batch, to rounding. Batch norm computes with each share, and dropout draws
            for each. Every process loads all the data, and must be able to import what the task is
            made of. Each parameter must have a gradient in every update, or in none.

    Raises:
        TaskError: if a value breaks its rule.
    """

    model: Callable[[], nn.Module]
    data: Callable[[], Data]
    loss: Loss = nn.functional.cross_entropy
    metrics: Mapping[str, Loss] = field(default_factory=lambda: {"accuracy": accuracy})
    optimizer: str | Mapping[str, Any] | Callable[[nn.Module], Optimizer] = "momentum"
    batch_size: int = 256
    drop_last: bool = True
    epochs: int = 10
    lr_every: LrEvery = "update"
    clip_norm: float | None = None
    precision: Precision = "fp32"
    parallel: Literal["ddp"] | None = None
    prepends_warmup: ClassVar[bool] = True
    adjusts_warmup: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise TaskError(f"task.{name} must be a whole number from 1, but got {value!r}")
        if not isinstance(self.drop_last, bool):
            raise TaskError(f"task.drop_last must be true or false, but got {self.drop_last!r}")
        if self.lr_every not in ("update", "epoch"):
            raise TaskError(f'task.lr_every must be "update" or "epoch", but got {self.lr_every!r}')
        if self.precision not in PRECISIONS:
            raise TaskError(
                f"task.precision is {self.precision!r}; {nearest(str(self.precision), PRECISIONS)}"
            )
        if self.parallel not in (None, "ddp"):
            raise TaskError(f'task.parallel can only be "ddp", but got {self.parallel!r}')
        clip = self.clip_norm
        if clip is not None and (type(clip) not in (int, float) or not 0 < clip < math.inf):
            raise TaskError(f"task.clip_norm must be a positive number, but got {clip!r}")
        if not callable(self.optimizer):
            optimizer_kind(self.optimizer)

    @property
    def metric_names(self) -> list[str]:
        """The names of the metrics in every `Progress`."""
        stability = ["grad_norm", "loss_jump", "loss_jump_step"]
        return [*self.named_metrics("train"), *self.named_metrics("val"), *stability]

    @property
    def base_lr(self) -> Float | None:
        """The usual domain of `base_lr` for the optimizer, if it is one of ours."""
        return None if callable(self.optimizer) else optimizer_kind(self.optimizer)[0].base_lr

    @cached_property
    def steps_per_epoch(self) -> int:
        """Batches in the training data that an epoch trains."""
        examples = len(self._data.train[1])
        if examples < self.batch_size:
            raise TaskError(
                f"task.batch_size must be at most the {examples} training examples, "
                f"but is {self.batch_size}; lower it"
            )
        return examples // self.batch_size if self.drop_last else -(-examples // self.batch_size)

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train the whole schedule in `epochs` epochs; see `lrsearch.tasks.Task.run`.

        Raises:
            RankLostError: if one of several processes that train it was killed, or has crashed.
        """
        self.check_watched(schedule)
        check_devices(self, device)
        first, *others = devices_of(device)
        run = partial(self._run, schedule, epochs=epochs, seed=seed, device=first, state=state)
        if not others:
            yield from run()
            return
        if schedule.adjusts:
            raise TaskError(
                "warmup.adjust watches every update as one process sees it, and the trial trains "
                f"on {1 + len(others)} devices; leave warmup.adjust or --gpus-per-trial out"
            )
        prepare = partial(self.scheduled, schedule, epochs=epochs, seed=seed, state=state)
        with leading([first, *others], prepare) as leader:
            yield from run(leader=leader)

    def scheduled(
        self,
        schedule: Schedule,
        device: str,
        *,
        epochs: int,
        seed: int,
        state: dict[str, Any] | None = None,
    ) -> ScheduledTraining:
        """Return a network in training at the schedule's rates, from a state on."""
        training = self.start(seed=seed, device=device, lr=schedule.base_lr)
        clock = clock_of(self, epochs, schedule)
        going = ScheduledTraining(
            training,
            Watch(schedule, clock, self.baseline(training) if schedule.adjusts else None),
            clock,
            epochs=epochs,
            steps_per_epoch=self.steps_per_epoch,
        )
        if state is not None:
            going.load_state_dict(state)
        return going

    def _run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None,
        leader: Leader | None = None,
    ) -> Iterator[Progress]:
        """Train in this process; where it leads others, with them."""
        going = self.scheduled(schedule, device, epochs=epochs, seed=seed)
        training, watch = going.training, going.watch
        history = History(self.baseline(training))
        if state is not None:
            going.load_state_dict(state)
            history = restored(history, state)
        if leader:
            leader.join(training)

        validations: dict[int, dict[str, float]] = {}

        def hear(step: int) -> float:
            validations[step] = training.validate(self.named_metrics("val"))
            heard = validations[step][schedule.family.watches()]
            return training.rank.agree(heard) if training.rank else heard

        for epoch in range(state["epoch"] if state else 0, epochs):
            validations.clear()
            start = going.start_of(epoch)
            with leader.epoch(epoch) if leader else nullcontext():
                seen = going.epoch(epoch, hear)
                by_batch, *by_metric = going.measured(seen).unbind(1)
            named = dict(zip(self.batch_metrics, by_metric, strict=True))
            norms = torch.stack([update.grad_norm for update in seen])
            weights = torch.tensor([update.examples for update in seen])
            metrics, bad = history.sum_up(by_batch, norms, start, named, weights)
            curve = within_epoch({"train_loss": by_batch, **named}, start, weights)
            if bad is not None:
                step, lr = start + bad, seen[bad].lr
                watch.settle()
                yield Progress(
                    epoch + 1, metrics, step=step, lr=lr, curve=curve, schedule=watch.known
                )
                return
            end = start + len(seen)
            metrics |= validations.get(end) or training.validate(self.named_metrics("val"))
            progress = Progress(
                epoch + 1,
                metrics,
                step=end,
                lr=seen[-1].lr,
                curve=curve,
                capture=partial(run_state, epoch + 1, training, going.scheduler, history, watch),
                test=lambda: training.test(self.named_metrics("test")),
                learned=history.learned(metrics["val_loss"]),
                baseline=history.baseline,
                schedule=watch.known,
            )
            yield progress
            if progress.diverged:
                return

    def check_watched(self, schedule: Schedule) -> None:
        """Refuse a schedule that reads a metric which no validation gives.

        Raises:
            TaskError: naming the metric and the nearest there is.
        """
        known = self.named_metrics("val")
        if schedule.family.reads_losses and (name := schedule.family.watches()) not in known:
            raise TaskError(
                f"{schedule.family.name}.metric is {name!r}, which no validation of this task "
                f"gives; {nearest(name, known)}"
            )

    @property
    def optimizer_name(self) -> str:
        """The optimizer's name; of one's own, "custom"."""
        if callable(self.optimizer):
            return "custom"
        return self.optimizer if isinstance(self.optimizer, str) else str(self.optimizer["name"])

    @property
    def settings(self) -> dict[str, Any]:
        """What a run depends on beside schedule, network and data, as plain JSON."""
        optimizer = self.optimizer
        if not isinstance(optimizer, str):
            optimizer = {"name": "custom"} if callable(optimizer) else with_betas(optimizer)
        return {
            "optimizer": optimizer,
            "batch_size": self.batch_size,
            "clip_norm": self.clip_norm,
            "precision": self.precision,
        }

    @property
    def data_checksum(self) -> str:
        """The SHA-256 of the training and validation data, as they are in memory."""
        digest = sha256()
        for tensor in (*self._data.train, *self._data.validation):
            digest.update(tensor.cpu().numpy().tobytes())
        return f"sha256:{digest.hexdigest()}"

    def baseline(self, training: Training) -> float | None:
        """Return the validation loss that a run must beat to have learned; `None` if unknown.

        The lower of the untrained network's and that of the best constant guess. It is measured
        once for each seed.

        Args:
            training: fresh from `start`.
        """
        if training.seed not in self._baselines:
            lowest = self.baseline_on(training, *training.data.validation)
            self._baselines[training.seed] = lowest if math.isfinite(lowest) else None
        return self._baselines[training.seed]

    def baseline_on(self, training: Training, inputs: Tensor, targets: Tensor) -> float:
        """Return the same on other examples; infinite if unknown."""
        outputs = training.outputs(inputs[: self.batch_size])
        guess = constant_guess_loss(self.loss, outputs, inputs, targets)
        known = [training.loss_on(inputs, targets), math.inf if guess is None else guess]
        return min(filter(math.isfinite, known), default=math.inf)

    def validation_loss(self, training: Training) -> float:
        """Return the loss over the validation data."""
        return training.loss_on(*training.data.validation)

    def start(self, *, seed: int, device: str, lr: float) -> Training:
        """Return a fresh network in training; what comes of its rate is the caller's to say."""
        return Training(
            self.model,
            lambda network: self._optimizer(network, lr),
            self._data.on(device),
            self.loss,
            metrics=list(self.metrics.values()),
            batch_size=self.batch_size,
            drop_last=self.drop_last,
            clip_norm=self.clip_norm,
            seed=seed,
            precision=self.precision,
        )

    def _optimizer(self, network: nn.Module, lr: float) -> Optimizer:
        if callable(self.optimizer):
            return self.optimizer(network)
        return build_optimizer(self.optimizer, network.parameters(), lr)

    @cached_property
    def _baselines(self) -> dict[int, float | None]:
        """By seed, what `baseline` has measured."""
        return {}

    @cached_property
    def _data(self) -> Data:
        return self.data()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what other processes load and measure by themselves."""
        own = {"_data", "_baselines"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def named_metrics(self, of: str) -> dict[str, Loss]:
        """Return the loss and the metrics by their names on the data "train", "val" or "test"."""
        named = {f"{of}_{name}": metric for name, metric in self.metrics.items()}
        return {f"{of}_loss": self.loss, **named}

    @property
    def batch_metrics(self) -> list[str]:
        """The names of what is measured of every batch as it trains, but for the loss."""
        return [f"train_{name}" for name in self.metrics]


def require_supervised(task: Task) -> Supervised:
    """Return the task if it can be looked into.

    Raises:
        TaskError: if it is not a `Supervised` one.
    """
    if not isinstance(task, Supervised):
        raise TaskError(
            f"this needs a task of lrsearch.tasks.Supervised, which it can train update by update; "
            f"a {type(task).__name__} only says how an epoch ended"
        )
    return task
