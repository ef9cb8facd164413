"""What the updates of an epoch say: the mean loss, and how stable training was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class History:
    """Sums up epochs of updates; evaluations once an epoch miss a loss that jumps and recovers.

    `grad_norm` is the epoch's largest gradient norm. `loss_jump` is the largest rise of the loss
    from one batch to the next, as a share of the run's first loss; `loss_jump_step` its update.
    """

    first_loss: float | None = None
    last_loss: float | None = None

    def sum_up(
        self,
        losses: Tensor,
        grad_norms: Tensor,
        start: int,
        metrics: Mapping[str, Tensor] | None = None,
        examples: Tensor | None = None,
    ) -> tuple[dict[str, float], int | None]:
        """Return the metrics of an epoch whose first update is `start`.

        Args:
            losses: [S], of the batches.
            grad_norms: [S], of the whole gradient, before clipping.
            start: the first update.
            metrics: by name, what else was measured of the batches, [S] each.
            examples: [S], the sizes of the batches, if they differ: means are over examples.

        Returns:
            The metrics, and the index of the first loss that is not finite, if there is one; then
            `train_loss` is that loss and stands alone.
        """
        losses = losses.double().cpu()
        finite = torch.isfinite(losses)
        if not finite.all():
            bad = int(finite.logical_not().nonzero()[0])
            return {"train_loss": float(losses[bad])}, bad
        if self.first_loss is None or self.last_loss is None:
            self.first_loss = self.last_loss = float(losses[0])
        rises = losses.diff(prepend=losses.new_tensor([self.last_loss]))
        self.last_loss = float(losses[-1])
        weights = torch.ones_like(losses) if examples is None else examples.double().cpu()

        def mean(values: Tensor) -> float:
            return float((values.double().cpu() * weights).sum() / weights.sum())

        means = {name: mean(values) for name, values in (metrics or {}).items()}
        return {
            "train_loss": mean(losses),
            # one that a batch leaves undefined says nothing of whether the run diverged
            **{name: value for name, value in means.items() if math.isfinite(value)},
            "grad_norm": float(grad_norms.max()),
            "loss_jump": float(rises.max()) / max(abs(self.first_loss), 1e-12),
            "loss_jump_step": start + int(rises.argmax()),
        }, None
