"""K copies of a network that train together: one batch and one launch for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from lrsearch.errors import TaskError
from lrsearch.tasks.loop import EVAL_BATCH_SIZE, Loss, as_input
from lrsearch.tasks.packs.batched_optimizers import BatchedOptimizer, State, UpdateInputs
from lrsearch.tasks.packs.cuda_graphs import Work, recorder
from lrsearch.tasks.packs.flat_parameters import FlatParameters
from lrsearch.tasks.packs.keyed_dropout import KeyedDropout, scrambled
from lrsearch.tasks.precision import forward, products
from lrsearch.tasks.training import Training

EVAL_CHUNK_SIZE = 128
"""Members evaluated at once, lest an evaluation need more memory than an update."""


class _Host(NamedTuple):
    """What all members are, in the host's memory."""

    weights: Tensor
    state: State
    buffers: dict[str, Tensor]


class _Graphs(NamedTuple):
    """What is one launch each."""

    update: Callable[[], None]
    evaluate: Callable[[], None]


class Stack:
    """K copies of a network in training on one device.

    The trained weights of a copy are one row of [K, P], so that an optimizer's update is a few
    operations whatever the network. All that an update reads or writes stays in its place: on CUDA
    an update is one launch of a graph, and nothing waits for the device.

    Args:
        training: the network, optimizer, loss and data; the copies begin as its network is.
        metrics: what `evaluate` evaluates.
        members: K.
        steps: S, the updates of an epoch.

    Raises:
        TaskError: if the optimizer or the network cannot train so.
    """

    def __init__(
        self, training: Training, metrics: Mapping[str, Loss], members: int, steps: int
    ) -> None:
        self.training = training
        self.metrics = metrics
        self.optimizer = BatchedOptimizer(training.optimizer)
        trained = training.trained()
        self.rows = FlatParameters(trained)
        dtype, *others = {parameter.dtype for parameter in trained.values()}
        if others:
            raise TaskError("the network's weights are of several types; train its trials alone")

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
        measured = 2 + len(training.metrics)
        self.record = torch.zeros(steps, measured, members, dtype=torch.float64, device=device)
        """[S, 2 + M, K]: loss, gradient norm (before clipping), metrics of every update's batch."""
        self._step = torch.zeros(1, dtype=torch.int64, device=device)  # runs round in an epoch
        self._steps = torch.arange(steps, device=device)[:, None, None]
        self._sums = torch.zeros(len(metrics), members, device=device)
        self._host: _Host | None = None
        self._recorder = recorder(device)
        self._graphs: _Graphs | None = None
        for member in range(members):
            self.load(member)
        self._record()

    def update(self, count: int) -> None:
        """Make the next updates of the epoch; after its last comes the first of another."""
        self._host = None
        update = self._graphs.update if self._graphs else self._eager_update
        for _ in range(count):
            update()

    def evaluate(self) -> None:
        """Begin to evaluate every member on the validation data."""
        (self._graphs.evaluate if self._graphs else self._eager_evaluation)()

    def evaluated(self) -> list[dict[str, float]]:
        """Return, of every member, what the last evaluation found: each metric's mean."""
        means = self._sums.cpu().double() / len(self.training.data.validation[1])
        return [dict(zip(self.metrics, values, strict=True)) for values in means.T.tolist()]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these members alone, in this order."""
        index = torch.tensor(rows, device=self.weights.device)
        self.weights = self.weights[index]
        self.state = {name: values[index] for name, values in self.state.items()}
        self.buffers = {name: values[index] for name, values in self.buffers.items()}
        self.rates, self.record = self.rates[..., index], self.record[..., index]
        self.keys, self._sums = self.keys[index], self._sums[:, index]
        self._host = None
        self._graphs = None  # they hold memory that the next ones may need
        self._record()

    def release(self) -> None:
        """Give the device its memory back, whoever still holds this; it is of no use any more."""
        vars(self).clear()

    @torch.no_grad()
    def load(self, member: int) -> None:
        """Take a member's network and optimizer's state from `training`."""
        parameters = dict(self.training.network.named_parameters())
        for name, weight in self.rows.split(self.weights[member]).items():
            weight.copy_(parameters[name])
        for name, buffer in self.training.network.named_buffers():
            self.buffers[name][member].copy_(buffer)
        state = self.training.optimizer.state
        for key, values in self.state.items():
            for name, part in self.rows.parts(values[member]).items():
                if key in state.get(parameters[name], {}):
                    part.copy_(state[parameters[name]][key])
        if state and not self.optimizer.keeps_step:
            self.state["step"][member] = 1  # all that counts is that the first is over

    @torch.no_grad()
    def store(self, member: int, training: Training) -> None:
        """Give a member's network and optimizer's state to a training whose optimizer is fresh."""
        host = self._on_host()
        parameters = dict(training.network.named_parameters())
        for name, weight in self.rows.split(host.weights[member]).items():
            parameters[name].copy_(weight)
        for name, buffer in training.network.named_buffers():
            buffer.copy_(host.buffers[name][member])
        for key, values in host.state.items():
            if key == "step" and not self.optimizer.keeps_step:
                continue
            for name, part in self.rows.parts(values[member]).items():
                training.optimizer.state[parameters[name]][key] = part.clone()

    def _on_host(self) -> _Host:
        """Return what all members are now, from the device at once."""
        if self._host is None:
            self._host = _Host(
                self.weights.cpu(),
                {name: values.cpu() for name, values in self.state.items()},
                {name: values.cpu() for name, values in self.buffers.items()},
            )
        return self._host

    def _record(self) -> None:
        """Make an update and an evaluation one launch each, where there are graphs."""
        if self._recorder:
            written = [self.weights, *self.state.values(), *self.buffers.values(), self._step]
            works = [
                Work(self._eager_update, [*written, self.record]),
                Work(self._eager_evaluation, [self._sums]),
            ]
            self._graphs = _Graphs(*self._recorder.record(works))

    def _eager_update(self) -> None:
        self.training.network.train()
        batch = self.order[self._step][0]
        inputs, targets = self.training.data.train
        with products(self.training.precision, targets.device):
            gradients, (losses, (buffers, measured)) = vmap(
                grad_and_value(self._loss, has_aux=True),
                in_dims=(0, 0, 0, None, None),
                randomness="different",
            )(
                self.weights,
                self.buffers,
                scrambled(self.keys + self._step),
                as_input(inputs[batch]),
                targets[batch],
            )
        norms = torch.linalg.vector_norm(gradients, dim=1)
        seen = torch.stack([values.double() for values in (losses, norms, *measured)])
        torch.where(self._steps == self._step, seen, self.record, out=self.record)
        if (clip := self.training.clip_norm) is not None:
            gradients.mul_((clip / (norms + 1e-6)).clamp(max=1)[:, None])  # as torch does
        lr, momentum = self.rates[self._step][0][..., None]
        self.optimizer.update(UpdateInputs(self.weights, gradients, self.state, lr, momentum))
        for name, buffer in self.buffers.items():
            buffer.copy_(buffers[name])
        self._step.add_(1).remainder_(len(self.order))

    @torch.no_grad()
    def _eager_evaluation(self) -> None:
        self.training.network.eval()
        self._sums.zero_()
        batches = (torch.split(tensor, EVAL_BATCH_SIZE) for tensor in self.training.data.validation)
        for inputs, targets in zip(*batches, strict=True):
            with products(self.training.precision, targets.device):
                values = vmap(
                    self._metrics,
                    in_dims=(0, 0, None, None),
                    randomness="different",
                    chunk_size=EVAL_CHUNK_SIZE,
                )(self.weights, self.buffers, as_input(inputs), targets)
            self._sums += torch.stack([value * len(targets) for value in values])

    def _loss(
        self,
        row: Tensor,
        buffers: Mapping[str, Tensor],
        key: Tensor,
        inputs: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, tuple[dict[str, Tensor], list[Tensor]]]:
        """Return a member's loss on a batch; its buffers afterwards, and the batch's metrics."""
        changed = {name: buffer.clone() for name, buffer in buffers.items()}
        with forward(self.training.precision, targets.device), KeyedDropout(key):
            outputs = functional_call(
                self.training.network, self.rows.split(row) | changed, (inputs,)
            )
            measured = [metric(outputs.detach(), targets) for metric in self.training.metrics]
            return self.training.loss(outputs, targets), (changed, measured)

    def _metrics(
        self, row: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> list[Tensor]:
        """Return a member's metrics on a batch."""
        with forward(self.training.precision, targets.device):
            here = {**self.rows.split(row), **buffers}
            outputs = functional_call(self.training.network, here, (inputs,))
            return [metric(outputs, targets) for metric in self.metrics.values()]
