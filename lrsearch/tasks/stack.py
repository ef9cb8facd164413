"""K copies of a network that train together: one batch and one launch for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from lrsearch.errors import TaskError
from lrsearch.tasks.batched_optimizers import BatchedOptimizer, Now
from lrsearch.tasks.draws import KeyedDropout, scrambled
from lrsearch.tasks.graphs import captured
from lrsearch.tasks.loop import EVALUATED, Loss, as_input
from lrsearch.tasks.precision import forward, products
from lrsearch.tasks.rows import Rows
from lrsearch.tasks.training import Training

MEMBERS_EVALUATED = 128
"""Members evaluated at once, lest an evaluation need more memory than an update."""


class Stack:
    """K copies of a network in training on one device.

    The trained weights of a copy are one row of [K, P], so that an optimizer's update is a few
    operations whatever the network. All that an update reads or writes stays in its place: on CUDA
    an update is one launch of a graph, and nothing waits for the device.

    Args:
        training: the network, optimizer, loss and data; the copies begin as its network is. Later
            it is only what `load` and `store` carry a member's state in.
        metrics: what `evaluate` evaluates.
        members: K.
        steps: S, the updates of an epoch.

    Raises:
        TaskError: if the optimizer or the network cannot train so.
    """

    _update: Callable[[], None]
    _evaluate: Callable[[], None]

    def __init__(
        self, training: Training, metrics: Mapping[str, Loss], members: int, steps: int
    ) -> None:
        self.training = training
        self.metrics = metrics
        self.optimizer = BatchedOptimizer(training.optimizer)
        self.rows = Rows(training.trained())
        dtype, *others = {parameter.dtype for parameter in self.rows.trained.values()}
        if others:
            raise TaskError("the network's weights are of several types; train its trials alone")
        self._gradients = vmap(
            grad_and_value(self._loss, has_aux=True),
            in_dims=(0, 0, 0, None, None),
            randomness="different",
        )
        self._values = vmap(
            self._metrics,
            in_dims=(0, 0, None, None),
            randomness="different",
            chunk_size=MEMBERS_EVALUATED,
        )

        device = training.data.train[1].device
        self.weights = torch.zeros(members, self.rows.length, dtype=dtype, device=device)
        self.state = self.optimizer.start(self.weights)
        self.buffers = {
            name: buffer.new_zeros(members, *buffer.shape)
            for name, buffer in training.network.named_buffers()
        }
        self.order = torch.zeros(steps, training.batch_size, dtype=torch.int64, device=device)
        """int64[S, B]: the examples of every update of the epoch."""
        self.keys = torch.zeros(members, dtype=torch.int64, device=device)
        """int64[K]: what dropout draws from in the epoch, of 32 bits."""
        self.rates = torch.zeros(steps, 2, members, dtype=torch.float64, device=device)
        """[S, 2, K]: rate and momentum of every update of the epoch."""
        self.record = torch.zeros_like(self.rates)
        """[S, 2, K]: loss and gradient norm (before clipping) of every update of the epoch."""
        self._step = torch.zeros(1, dtype=torch.int64, device=device)  # runs round in an epoch
        self._steps = torch.arange(steps, device=device)[:, None, None]
        self._sums = torch.zeros(len(metrics), members, device=device)
        for member in range(members):
            self.load(member)
        self._capture()

    def update(self, count: int) -> None:
        """Make the next updates of the epoch; after its last comes the first of another."""
        for _ in range(count):
            self._update()

    def evaluate(self) -> list[dict[str, float]]:
        """Return, of every member, each metric's mean over the validation data."""
        self._evaluate()
        means = self._sums.cpu().double() / len(self.training.data.validation[1])
        return [dict(zip(self.metrics, values, strict=True)) for values in means.T.tolist()]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these members alone, in this order."""
        kept = torch.tensor(rows, device=self.weights.device)
        self.weights = self.weights[kept]
        self.state = {name: values[kept] for name, values in self.state.items()}
        self.buffers = {name: values[kept] for name, values in self.buffers.items()}
        self.rates, self.record = self.rates[..., kept], self.record[..., kept]
        self.keys, self._sums = self.keys[kept], self._sums[:, kept]
        del self._update, self._evaluate  # they hold memory that the next ones may need
        self._capture()

    @torch.no_grad()
    def load(self, member: int) -> None:
        """Take a member's network and optimizer's state from `training`."""
        for parameter, weight in self.rows.parts(self.weights[member]):
            weight.copy_(parameter)
        for name, buffer in self.training.network.named_buffers():
            self.buffers[name][member].copy_(buffer)
        kept = self.training.optimizer.state
        for name, values in self.state.items():
            for parameter, part in self.rows.parts(values[member]):
                if name in kept.get(parameter, {}):
                    part.copy_(kept[parameter][name])
        if kept and not self.optimizer.keeps_step:
            self.state["step"][member] = 1  # all that counts is that the first is over

    @torch.no_grad()
    def store(self, member: int) -> None:
        """Give a member's network and optimizer's state to `training`, whose optimizer is fresh."""
        for parameter, weight in self.rows.parts(self.weights[member]):
            parameter.copy_(weight)
        for name, buffer in self.training.network.named_buffers():
            buffer.copy_(self.buffers[name][member])
        for name, values in self.state.items():
            if name == "step" and not self.optimizer.keeps_step:
                continue
            for parameter, part in self.rows.parts(values[member]):
                kept = part.clone() if part.dim() else part.cpu().clone()  # torch's numbers are
                self.training.optimizer.state[parameter][name] = kept  # on the CPU

    def _capture(self) -> None:
        """Make an update and an evaluation one launch each."""
        written = [self.weights, *self.state.values(), *self.buffers.values(), self._step]
        self._update = captured(self._eager_update, [*written, self.record])
        self._evaluate = captured(self._eager_evaluation, [self._sums])

    def _eager_update(self) -> None:
        self.training.network.train()
        batch = self.order[self._step][0]
        inputs, targets = self.training.data.train
        with products(self.training.precision, targets.device):
            gradients, (losses, buffers) = self._gradients(
                self.weights,
                self.buffers,
                scrambled(self.keys + self._step),
                as_input(inputs[batch]),
                targets[batch],
            )
        norms = torch.linalg.vector_norm(gradients, dim=1)
        seen = torch.stack([losses, norms]).double()
        torch.where(self._steps == self._step, seen, self.record, out=self.record)
        if (clip := self.training.clip_norm) is not None:
            gradients.mul_((clip / (norms + 1e-6)).clamp(max=1)[:, None])  # as torch does
        lr, momentum = self.rates[self._step][0][..., None]
        self.optimizer.update(Now(self.weights, gradients, self.state, lr, momentum))
        for name, buffer in self.buffers.items():
            buffer.copy_(buffers[name])
        self._step.add_(1).remainder_(len(self.order))

    @torch.no_grad()
    def _eager_evaluation(self) -> None:
        self.training.network.eval()
        self._sums.zero_()
        batches = (torch.split(tensor, EVALUATED) for tensor in self.training.data.validation)
        for inputs, targets in zip(*batches, strict=True):
            with products(self.training.precision, targets.device):
                values = self._values(self.weights, self.buffers, as_input(inputs), targets)
            self._sums += torch.stack([value * len(targets) for value in values])

    def _loss(
        self,
        row: Tensor,
        buffers: Mapping[str, Tensor],
        key: Tensor,
        inputs: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a member's loss on a batch, and its buffers afterwards."""
        changed = {name: buffer.clone() for name, buffer in buffers.items()}
        with forward(self.training.precision, targets.device), KeyedDropout(key):
            outputs = functional_call(
                self.training.network, self.rows.split(row) | changed, (inputs,)
            )
            return self.training.loss(outputs, targets), changed

    def _metrics(
        self, row: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> list[Tensor]:
        """Return a member's metrics on a batch."""
        with forward(self.training.precision, targets.device):
            here = {**self.rows.split(row), **buffers}
            outputs = functional_call(self.training.network, here, (inputs,))
            return [metric(outputs, targets) for metric in self.metrics.values()]
