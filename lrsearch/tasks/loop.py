"""The training loop: one generator of updates, one function that evaluates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lrsearch.tasks.ddp import Rank
from lrsearch.tasks.optimizers import set_mode
from lrsearch.tasks.precision import Precision, forward, products

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [B, …], targets [B, …]) → scalar, the mean over the batch."""
EVAL_BATCH_SIZE = 1000
"""Examples in a batch of an evaluation."""


class Update(NamedTuple):
    """One update: the rate it used; its batch's loss [] and gradient's L2 norm [] before it.

    The norm is that of the whole gradient, before clipping. `metrics` [M] are the batch's, of the
    outputs that the loss was computed from; it has so many `examples`. All tensors are left on the
    device. Of several processes that train together each has loss and metrics of its own part of
    the batch (`Rank.whole`), and the norm that all share.
    """

    lr: float
    loss: Tensor
    grad_norm: Tensor
    metrics: Tensor
    examples: int


def as_input(images: Tensor) -> Tensor:
    """Return bytes (uint8, 0 … 255) as floats in [0, 1]; anything else as it is."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def updates(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    order: Tensor,
    *,
    metrics: Sequence[Loss],
    batch_size: int,
    clip_norm: float | None = None,
    precision: Precision = "fp32",
    rank: Rank | None = None,
) -> Iterator[Update]:
    """Train on batches of `inputs` and `targets` in the given order; yield after each update.

    Nothing here waits for the device: who consumes the updates decides when to look at the losses,
    and sets the rate of the next update while the generator rests.

    Args:
        inputs: [N, …]; bytes are read as floats in [0, 1].
        targets: [N, …].
        order: int64[N'], the indices to train on.
        metrics: what else is measured of each batch, at no further pass.
        batch_size: examples in an update; the last may have fewer.
        clip_norm: a gradient with a larger L2 norm is scaled down to it.
        precision: of the network's passes.
        rank: this process, where several train the network together.
    """
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for batch in torch.split(order, batch_size):
        part, counts = rank.share(batch) if rank else (batch, 1.0)
        lr = float(optimizer.param_groups[0]["lr"])
        set_mode(optimizer, "train")  # an evaluation may lie between two updates
        optimizer.zero_grad()
        with products(precision, targets.device):
            with forward(precision, targets.device):
                outputs = (rank or network)(as_input(inputs[part]))
                batch_loss = loss(outputs, targets[part])
            (batch_loss * counts if rank else batch_loss).backward()  # type: ignore[no-untyped-call]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if clip_norm is not None:
            clip_grads_with_norm_(parameters, clip_norm, norm)
        optimizer.step()
        with torch.no_grad(), forward(precision, targets.device):
            measured = [metric(outputs.detach(), targets[part]) for metric in metrics]
        values = torch.stack(measured) if measured else norm.new_zeros(0)
        yield Update(lr, batch_loss.detach(), norm, values, len(batch))


@torch.no_grad()
def evaluate(
    network: nn.Module,
    metrics: Mapping[str, Loss],
    inputs: Tensor,
    targets: Tensor,
    *,
    batch_size: int = EVAL_BATCH_SIZE,
    precision: Precision = "fp32",
) -> dict[str, float]:
    """Return each metric's mean over all examples; the network is left in training mode."""
    network.eval()
    totals = {name: torch.zeros((), device=targets.device) for name in metrics}
    batches = zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
    for batch, batch_targets in batches:
        with products(precision, targets.device), forward(precision, targets.device):
            outputs = network(as_input(batch))
            for name, metric in metrics.items():
                totals[name] += metric(outputs, batch_targets) * len(batch)
    network.train()
    return {name: float(total) / len(targets) for name, total in totals.items()}


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of outputs [B, C] whose largest entry is the target [B]."""
    return (outputs.argmax(dim=1) == targets).float().mean()
