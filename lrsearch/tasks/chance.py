"""Chance: the loss of a network that says the same whatever it sees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lrsearch.tasks.loop import Loss, evaluate

_NEVER = 1e-9
"""The share of a class that does not occur: its logarithm must be finite."""


class _Constant(nn.Module):
    """Outputs the same for every input."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output.expand(len(inputs), *self.output.shape[1:])


def constant_guess_loss(
    loss: Loss, outputs: object, inputs: Tensor, targets: Tensor
) -> float | None:
    """Return the loss of the best constant guess; `None` if the loss takes none of those tried.

    Of classes the guess is the logarithm of their shares, which the cross entropy of logits and of
    log-probabilities both read; of numbers their mean, median, and the logit of the mean. So it is
    ln 10 for ten classes alike, the variance for a squared error.

    Args:
        loss: (outputs, targets) → scalar, the mean over a batch.
        outputs: [B, …], what the network outputs; their shape tells what a guess looks like.
        inputs: [N, …].
        targets: [N, …], of the inputs.
    """
    if not isinstance(outputs, Tensor):
        return None
    losses = []
    for guess in _guesses(outputs, targets):
        try:
            value = evaluate(_Constant(guess), {"loss": loss}, inputs, targets)["loss"]
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue  # this loss reads other outputs
        if math.isfinite(value):
            losses.append(value)
    return min(losses, default=None)


def _guesses(outputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
    """Yield constant outputs [1, …] that fit the targets."""
    if targets.is_floating_point():
        if targets.shape[1:] == outputs.shape[1:]:
            mean = targets.mean(dim=0, keepdim=True)
            yield mean
            yield targets.median(dim=0, keepdim=True).values
            if float(targets.min()) >= 0 and float(targets.max()) <= 1:
                yield torch.logit(mean, eps=_NEVER)
        return
    classes = targets[targets >= 0].long().flatten()  # below 0: to be ignored
    for dim in {1, outputs.dim() - 1} if len(classes) and outputs.dim() > 1 else ():
        count = outputs.shape[dim]
        if int(classes.max()) < count:
            shares = torch.bincount(classes, minlength=count) / len(classes)
            shape = [1] * outputs.dim()
            shape[dim] = count
            yield shares.clamp_min(_NEVER).log().view(shape).expand(1, *outputs.shape[1:])
