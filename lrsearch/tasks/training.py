"""A network in training: what a run, the learning-rate finder and the diagnosis stand on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch.errors import DataError
from lrsearch.schedules import ScheduleLR
from lrsearch.tasks.ddp import Rank
from lrsearch.tasks.history import History
from lrsearch.tasks.loop import Loss, Update, as_input, evaluate, updates
from lrsearch.tasks.optimizers import set_mode
from lrsearch.tasks.precision import Precision, forward, products
from lrsearch.tasks.watch import Watch


@dataclass(frozen=True)
class Data:
    """Training and validation examples as tensors: (inputs [N, …], targets [N, …]) each.

    Inputs may be floats, or bytes (uint8), which are read as floats in [0, 1]. `test` loads such
    examples as well; it is called only where a schedule is confirmed.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: Callable[[], tuple[Tensor, Tensor]] | None = None
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
                (x.to(device), y.to(device)), (x_val.to(device), y_val.to(device)), self.test
            )
        return self._copies[device]


class Training:
    """A network, its optimizer and its data on one device, from a seed on.

    All randomness of an epoch derives from the seed and the epoch's number, so training goes on
    exactly from any epoch, with no generator's state to keep.

    Args:
        model: makes the network; its weights derive from the seed.
        optimizer: makes the optimizer of the network.
        data: already on the device.
        loss: (outputs, targets) → scalar, the mean over a batch.
        metrics: functions like `loss`, measured of every batch as it trains.
        batch_size: examples in an update.
        drop_last: whether an epoch leaves out what does not fill a batch.
        clip_norm: the gradient's L2 norm is cut to this, if given.
        seed: of the weights, the order of the data, dropout.
        precision: of the network's passes.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        data: Data,
        loss: Loss,
        *,
        metrics: Sequence[Loss],
        batch_size: int,
        drop_last: bool,
        clip_norm: float | None,
        seed: int,
        precision: Precision,
    ) -> None:
        torch.manual_seed(seed)
        network = model().to(data.train[1].device)
        if data.train[0].dim() == 4:  # images: convolutions are faster with channels innermost
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        self.optimizer = optimizer(network)
        self.data = data
        self.loss = loss
        self.metrics = metrics
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.clip_norm = clip_norm
        self.seed = seed
        self.precision = precision
        self.rank: Rank | None = None

    def join(self, rank: Rank) -> None:
        """Train on together with other processes, from the weights of the first of them.

        Each parameter must take part in every update, or in none.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        examples = -(-self.batch_size // rank.count)
        self._backward(self.network, examples)
        trained = [p.grad is not None for p in self.network.parameters() if p.requires_grad]
        self.optimizer.zero_grad()
        rank.join(self.network, leaves_out=not all(trained))
        # its first pass settles the order of its sums, alike for a run that begins and one resumed
        self._backward(rank, examples)
        self.optimizer.zero_grad()
        for buffer, before in buffers:
            buffer.copy_(before)
        self.rank = rank

    def _backward(self, model: Callable[[Tensor], Any], examples: int) -> None:
        """Compute the gradients of a loss on the first examples."""
        inputs, targets = (tensor[:examples] for tensor in self.data.train)
        with products(self.precision, targets.device):
            with forward(self.precision, targets.device):
                loss = self.loss(model(as_input(inputs)), targets)
            loss.backward()  # type: ignore[no-untyped-call]

    def order(self, number: int) -> Tensor:
        """Return the order of what an epoch trains on, int64[N]; seed what else it draws.

        Processes that train together have one order, and each draws its own of what else there is.
        """
        _seed_torch(self.seed, number)
        targets = self.data.train[1]
        order = torch.randperm(len(targets)).to(targets.device)
        if self.rank is not None and self.rank.number:
            _seed_torch(self.seed, number, self.rank.number)
        trained = len(order) // self.batch_size * self.batch_size if self.drop_last else len(order)
        return order[:trained]

    def epoch(self, number: int) -> Iterator[Update]:
        """Train on the batches of a fresh order of the data; yield after each update."""
        return updates(
            self.network, self.optimizer, self.loss, *self.data.train, self.order(number),
            metrics=self.metrics, batch_size=self.batch_size, clip_norm=self.clip_norm,
            precision=self.precision, rank=self.rank,
        )  # fmt: skip

    def first_epoch(self, lead: int, epochs: int) -> Iterator[Update]:
        """Train `lead` updates on orders that none of the run's `epochs` has, then epoch 0."""
        yield from islice(self.updates(epochs), lead)
        yield from self.epoch(0)

    def updates(self, number: int = 0) -> Iterator[Update]:
        """Train epoch after epoch from this number on, without end."""
        while True:
            yield from self.epoch(number)
            number += 1

    def validate(self, metrics: Mapping[str, Loss]) -> dict[str, float]:
        """Return the mean of each metric over the validation data."""
        set_mode(self.optimizer, "eval")
        return evaluate(self.network, metrics, *self.data.validation, precision=self.precision)

    def test(self, metrics: Mapping[str, Loss]) -> dict[str, float]:
        """Return the mean of each metric over the test data, loaded for it; none if there is none.

        Call it once, for a schedule that is confirmed.
        """
        if self.data.test is None:
            return {}
        device = self.data.train[1].device
        inputs, targets = (tensor.to(device) for tensor in self.data.test())
        set_mode(self.optimizer, "eval")
        return evaluate(self.network, metrics, inputs, targets, precision=self.precision)

    def loss_on(self, inputs: Tensor, targets: Tensor) -> float:
        """Return the loss on some examples, as in an evaluation."""
        set_mode(self.optimizer, "eval")
        metrics = {"loss": self.loss}
        return evaluate(self.network, metrics, inputs, targets, precision=self.precision)["loss"]

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> object:
        """Return the network's outputs as in an evaluation."""
        self.network.eval()
        with products(self.precision, inputs.device), forward(self.precision, inputs.device):
            outputs: object = self.network(as_input(inputs))
        self.network.train()
        return outputs

    def trained(self) -> dict[str, nn.Parameter]:
        """Return, by name, the parameters that the loss has a gradient for; others stay as is."""
        probe = deepcopy(self.network).train()
        inputs, targets = (tensor[: self.batch_size] for tensor in self.data.train)
        self.loss(probe(as_input(inputs)), targets).backward()  # type: ignore[no-untyped-call]
        reached = {name for name, p in probe.named_parameters() if p.grad is not None}
        return {name: p for name, p in self.network.named_parameters() if name in reached}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of network and optimizer; the tensors are the live ones."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; it is copied, since torch would train on in it."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))


def _seed_torch(*entropy: int) -> None:
    seeds = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    torch.manual_seed(int(seeds[0] >> 1))


def restored(history: History, state: Mapping[str, Any]) -> History:
    """Return a run's history as `run_state` kept it; versions before kept no lowest loss."""
    lowest = state.get("lowest_loss", math.inf)
    return replace(history, first_loss=state["first_loss"], lowest_loss=lowest)


def run_state(
    epoch: int,
    training: Training,
    scheduler: ScheduleLR,
    history: History,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Return what a run needs to go on after `epoch` epochs; the tensors are the live ones."""
    watched = watch.state_dict() if watch else {}
    return {
        "epoch": epoch,
        **training.state_dict(),
        "scheduler": scheduler.state_dict(),
        "first_loss": history.first_loss,
        "lowest_loss": history.lowest_loss,
        **({"watch": watched} if watched else {}),
    }
