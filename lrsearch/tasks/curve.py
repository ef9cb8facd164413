"""How an epoch went within: a few points of its curve, of what was measured as it trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

EVERY = 50
"""Updates from one point of an epoch's curve to the next;"""
FEWEST, MOST = 5, 20
"""a short epoch has so many points nonetheless, a long one no more than so many."""


def within_epoch(
    measured: Mapping[str, Tensor], start: int, examples: Tensor | None = None
) -> list[tuple[int, dict[str, float]]]:
    """Return points of an epoch: updates so far, and the means over the updates since the last.

    It ends before the first loss that is not finite. Values have six digits.

    Args:
        measured: by name, what was measured of the batches, [S] each; `train_loss` among them.
        start: the first update.
        examples: [S], the sizes of the batches, if they differ: means are over examples.

    Example:
        >>> within_epoch({"train_loss": torch.arange(10.0)}, 100)[:2]
        [(102, {'train_loss': 0.5}), (104, {'train_loss': 2.5})]
    """
    values = {name: each.double().cpu() for name, each in measured.items()}
    losses = values["train_loss"]
    weights = torch.ones_like(losses) if examples is None else examples.double().cpu()
    every = max(1, min(EVERY, len(losses) // FEWEST), -(-len(losses) // MOST))
    finite = int(torch.isfinite(losses).cumprod(0).sum())
    points = []
    for begin in range(0, finite, every):
        end = min(begin + every, finite)
        share = weights[begin:end] / weights[begin:end].sum()
        means = {name: float((each[begin:end] * share).sum()) for name, each in values.items()}
        shown = {n: float(f"{mean:.6g}") for n, mean in means.items() if math.isfinite(mean)}
        points.append((start + end, shown))
    return points
