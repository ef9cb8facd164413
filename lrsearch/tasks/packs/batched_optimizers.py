"""torch's optimizers over many networks at once, each with a rate and a momentum of its own.

The weights of K networks stand in rows [K, P]. What is a number for one network is a column [K, 1]
here: it is computed in double precision, as torch computes with Python's floats, and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

from lrsearch.errors import TaskError

State = dict[str, Tensor]
"""By torch's names: [K, P] what an optimizer keeps of each weight, [K, 1] of each network."""
Options = Mapping[str, Any]
"""torch's parameter group."""


class UpdateInputs(NamedTuple):
    """One update: weights and gradients [K, P], rates and momenta [K, 1] in double precision.

    The update changes weights and state in place, and may change the gradients.
    """

    weights: Tensor
    gradients: Tensor
    state: State
    lr: Tensor
    momentum: Tensor

    def rounded(self, column: Tensor) -> Tensor:
        """Return a column [K, 1] in the weights' precision, but at least single."""
        return column.to(torch.promote_types(self.weights.dtype, torch.float32))

    def descend(self, direction: Tensor, lr: Tensor) -> None:
        """Go by `lr` [K, 1] against the direction [K, P]."""
        self.weights.addcmul_(direction, self.rounded(lr), value=-1)


class BatchedOptimizer:
    """The update of one of torch's optimizers for K networks; see `OPTIMIZERS` for the formulas.

    Options that say how and not what torch computes (`foreach`, `fused`, `capturable`) change
    nothing here.

    Args:
        optimizer: torch's, with its options, of one parameter group.

    Raises:
        TaskError: if it is of another kind, or is to be differentiated through.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.options: Options = optimizer.param_groups[0]
        kind = _KINDS.get(type(optimizer))
        if kind is None or len(optimizer.param_groups) > 1 or self.options.get("differentiable"):
            raise TaskError(
                f"the optimizer {type(optimizer).__name__} with its options cannot train several "
                "networks at once; train its trials alone"
            )
        self._kind = kind
        betas = self.options.get("betas", (0.0,))
        self.momentum = float(self.options.get("momentum", betas[0]))
        """The optimizer's own momentum (or first beta), where a schedule does not move it."""

    def start(self, weights: Tensor) -> State:
        """Return the state before the first update of weights [K, P]."""
        state = {name: torch.zeros_like(weights) for name in self._kind.averages(self.options)}
        # of the default type, as torch's, so that nothing is lost when they are kept
        column = torch.zeros(len(weights), 1, device=weights.device)
        state["step"] = column
        if self._kind.update is _nadam:
            state["mu_product"] = torch.ones_like(column)
        return state

    def update(self, inputs: UpdateInputs) -> None:
        """Change weights and state by one update."""
        inputs.state["step"] += 1
        if self.options["maximize"]:
            inputs.gradients.neg_()
        if decay := self.options["weight_decay"]:
            if self.options.get("decoupled_weight_decay"):
                inputs.weights.mul_(inputs.rounded(1 - inputs.lr * decay))
            else:
                inputs.gradients.add_(inputs.weights, alpha=decay)
        self._kind.update(inputs, self.options)

    @property
    def keeps_step(self) -> bool:
        """Whether torch keeps the number of updates: not of SGD."""
        return self._kind.update is not _sgd


def _sgd(inputs: UpdateInputs, options: Options) -> None:
    gradients, momentum = inputs.gradients, inputs.rounded(inputs.momentum)
    if not options["momentum"]:
        inputs.descend(gradients, inputs.lr)
        return
    velocity = inputs.state["momentum_buffer"].mul_(momentum)
    if options["dampening"]:  # the first velocity is the whole gradient
        share = 1 - options["dampening"] * (inputs.state["step"] > 1).double()
        velocity.addcmul_(gradients, inputs.rounded(share))
    else:
        velocity.add_(gradients)
    if options["nesterov"]:
        velocity = gradients.addcmul_(velocity, momentum)
    inputs.descend(velocity, inputs.lr)


def _rmsprop(inputs: UpdateInputs, options: Options) -> None:
    gradients, alpha = inputs.gradients, options["alpha"]
    squares = inputs.state["square_avg"].mul_(alpha)
    squares.addcmul_(gradients, gradients, value=1 - alpha)
    if options["centered"]:
        mean = inputs.state["grad_avg"].lerp_(gradients, 1 - alpha)
        squares = squares.addcmul(mean, mean, value=-1)
    direction = gradients.div_(squares.sqrt().add_(options["eps"]))
    if options["momentum"]:
        velocity = inputs.state["momentum_buffer"].mul_(inputs.rounded(inputs.momentum))
        direction = velocity.add_(direction)
    inputs.descend(direction, inputs.lr)


def _adam(inputs: UpdateInputs, options: Options) -> None:
    means, squares, step = _averaged(inputs, options)
    if options["amsgrad"]:
        squares = torch.maximum(inputs.state["max_exp_avg_sq"], squares)
        inputs.state["max_exp_avg_sq"].copy_(squares)
    correction = (1 - options["betas"][1] ** step).sqrt()
    spread = squares.sqrt().div_(inputs.rounded(correction)).add_(options["eps"])
    inputs.descend(means / spread, inputs.lr / (1 - inputs.momentum**step))


def _nadam(inputs: UpdateInputs, options: Options) -> None:
    means, squares, step = _averaged(inputs, options)
    decay = options["momentum_decay"]
    mu, coming_mu = (inputs.momentum * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
    product = inputs.state["mu_product"].mul_(mu.to(inputs.state["mu_product"].dtype)).double()
    correction = inputs.rounded(1 - options["betas"][1] ** step)
    spread = squares.div(correction).sqrt_().add_(options["eps"])
    inputs.descend(inputs.gradients.div_(spread), inputs.lr * (1 - mu) / (1 - product))
    inputs.descend(means / spread, inputs.lr * coming_mu / (1 - product * coming_mu))


def _averaged(inputs: UpdateInputs, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """Return Adam's averages of gradients and their squares [K, P], and the step [K, 1]."""
    beta2 = options["betas"][1]
    share = inputs.rounded(1 - inputs.momentum).to(inputs.gradients.dtype)
    means = inputs.state["exp_avg"].lerp_(inputs.gradients, share)
    squares = inputs.state["exp_avg_sq"].mul_(beta2)
    squares.addcmul_(inputs.gradients, inputs.gradients, value=1 - beta2)
    return means, squares, inputs.state["step"].double()


class _Kind(NamedTuple):
    """The rule of an update, and the names of what it keeps of each weight."""

    update: Callable[[UpdateInputs, Options], None]
    averages: Callable[[Options], list[str]]


def _adam_averages(options: Options) -> list[str]:
    return ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(options.get("amsgrad"))


def _velocity(options: Options) -> list[str]:
    return ["momentum_buffer"] * bool(options["momentum"])


def _rmsprop_averages(options: Options) -> list[str]:
    return ["square_avg", *_velocity(options)] + ["grad_avg"] * bool(options["centered"])


_KINDS: dict[type[Optimizer], _Kind] = {
    SGD: _Kind(_sgd, _velocity),
    RMSprop: _Kind(_rmsprop, _rmsprop_averages),
    Adam: _Kind(_adam, _adam_averages),
    AdamW: _Kind(_adam, _adam_averages),
    NAdam: _Kind(_nadam, _adam_averages),
}
