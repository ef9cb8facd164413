"""A task of any network and data, trained by our own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch.domains import Float
from lrsearch.errors import DataError, TaskError
from lrsearch.schedules import Schedule
from lrsearch.tasks.loop import Loss, accuracy, evaluate, updates
from lrsearch.tasks.optimizers import build_optimizer, optimizer_kind
from lrsearch.tasks.task import Progress


@dataclass(frozen=True)
class Data:
    """Training and validation examples as tensors: (inputs [N, …], targets [N, …]) each.

    Inputs may be floats, or bytes (uint8), which are read as floats in [0, 1].
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    _copies: dict[str, Data] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            inputs, targets = getattr(self, name)
            if not 0 < len(inputs) == len(targets):
                raise DataError(
                    f"the {name} data must have as many inputs as targets and not be empty, "
                    f"but has {len(inputs)} and {len(targets)}"
                )

    def on(self, device: str) -> Data:
        """Return this data on `device`, copied there once."""
        if device not in self._copies:
            (x, y), (x_val, y_val) = self.train, self.validation
            self._copies[device] = Data(
                (x.to(device), y.to(device)), (x_val.to(device), y_val.to(device))
            )
        return self._copies[device]


@dataclass(frozen=True)
class Supervised:
    """A task of any network and data.

    Metrics are `train_loss` (mean over the epoch's batches), `val_loss`, and `val_` with the name
    of each metric. Every epoch trains the full batches of a fresh order of the data. All
    randomness derives from the seed and the epoch, so a run goes on exactly from any epoch.

    Args:
        model: makes the network.
        data: loads the data; called once.
        loss: (outputs, targets) → scalar, the mean over a batch.
        metrics: name → function like `loss`, evaluated on the validation data.
        optimizer: a name in `lrsearch.tasks.optimizers`, or `{"name": …, option: value}`.
        batch_size: examples in an update.
        epochs: the length of the full run.
        lr_every: "update", or "epoch": the rate changes only `epochs` times in a run, and is
            `schedule.lr(epoch, epochs)` in each part.

    Raises:
        TaskError: if a value breaks its rule.
    """

    model: Callable[[], nn.Module]
    data: Callable[[], Data]
    loss: Loss = nn.functional.cross_entropy
    metrics: Mapping[str, Loss] = field(default_factory=lambda: {"accuracy": accuracy})
    optimizer: str | Mapping[str, Any] = "momentum"
    batch_size: int = 256
    epochs: int = 10
    lr_every: Literal["update", "epoch"] = "update"

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise TaskError(f"task.{name} must be a whole number from 1, but got {value!r}")
        if self.lr_every not in ("update", "epoch"):
            raise TaskError(f'task.lr_every must be "update" or "epoch", but got {self.lr_every!r}')
        optimizer_kind(self.optimizer)

    @property
    def metric_names(self) -> list[str]:
        """The names of the metrics in every `Progress`."""
        return ["train_loss", *self._validation_metrics]

    @property
    def base_lr(self) -> Float:
        """The usual domain of `base_lr` for the optimizer."""
        return optimizer_kind(self.optimizer)[0].base_lr

    @cached_property
    def steps_per_epoch(self) -> int:
        """Full batches in the training data."""
        examples = len(self._data.train[1])
        if examples < self.batch_size:
            raise TaskError(
                f"task.batch_size must be at most the {examples} training examples, "
                f"but is {self.batch_size}; lower it"
            )
        return examples // self.batch_size

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train the whole schedule in `epochs` epochs; see `lrsearch.tasks.Task.run`."""
        data = self._data.on(device)
        total_steps = epochs * self.steps_per_epoch
        torch.manual_seed(seed)
        network = self.model().to(device)
        if data.train[0].dim() == 4:  # images: convolutions are faster with channels innermost
            network = network.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(self.optimizer, network.parameters(), schedule.base_lr)
        parts = total_steps if self.lr_every == "update" else self.epochs
        scheduler = schedule.torch(optimizer, parts)
        first = 0
        if state is not None:
            first = state["epoch"]
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(deepcopy(state["optimizer"]))  # torch would train on in it
            scheduler.load_state_dict(state["scheduler"])

        for epoch in range(first, epochs):
            torch.manual_seed(_mixed(seed, epoch))
            order = torch.randperm(len(data.train[1])).to(device)
            start = epoch * self.steps_per_epoch
            lrs: list[float] = []
            losses: list[Tensor] = []
            validation: dict[str, float] = {}
            batches = updates(network, optimizer, self.loss, *data.train, order, self.batch_size)
            for step, update in enumerate(batches, start + 1):
                lrs.append(update.lr)
                losses.append(update.loss)
                validation = {}
                # a run of any length has as many evaluations and parts as the full run has epochs
                passed = step * self.epochs // total_steps - (step - 1) * self.epochs // total_steps
                if passed and schedule.shape.reads_losses:
                    validation = self._validate(network, data)
                for _ in range(1 if self.lr_every == "update" else passed):
                    scheduler.step(validation.get("val_loss"))

            train_losses = torch.stack(losses)
            if not torch.isfinite(train_losses).all():
                bad = int(torch.isfinite(train_losses).logical_not().nonzero()[0])
                metrics = {"train_loss": float(train_losses[bad])}
                yield Progress(epoch + 1, metrics, step=start + bad, lr=lrs[bad])
                return
            metrics = {"train_loss": float(train_losses.mean())}
            metrics |= validation or self._validate(network, data)
            progress = Progress(
                epoch + 1,
                metrics,
                step=start + len(lrs),
                lr=lrs[-1],
                capture=lambda epoch=epoch: {  # type: ignore[misc]
                    "epoch": epoch + 1,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                },
            )
            yield progress
            if progress.diverged:
                return

    @cached_property
    def _data(self) -> Data:
        return self.data()

    @property
    def _validation_metrics(self) -> dict[str, Loss]:
        named = {f"val_{name}": metric for name, metric in self.metrics.items()}
        return {"val_loss": self.loss, **named}

    def _validate(self, network: nn.Module, data: Data) -> dict[str, float]:
        metrics = evaluate(network, self._validation_metrics, *data.validation)
        network.train()
        return metrics


def _mixed(seed: int, epoch: int) -> int:
    """Return a seed for one epoch of a run; neighbours share nothing."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
