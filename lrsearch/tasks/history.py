"""What the updates of an epoch say: the mean loss, and how stable training was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsearch.tasks.learning import has_fallen, rises


@dataclass
class History:
    """Sums up epochs of updates; evaluations once an epoch miss a loss that jumps and recovers.

    `grad_norm` is the epoch's largest gradient norm. `loss_jump` is the largest rise of a batch's
    loss above the lowest so far (`rises`); `loss_jump_step` its update.

    Args:
        baseline: the validation loss that a run must beat to have learned; `None` if unknown.
        first_loss: of the run's first batch.
        lowest_loss: of its batches so far.
        final_loss: the mean of the last tenth of the updates of the last epoch.
    """

    baseline: float | None = None
    first_loss: float | None = None
    lowest_loss: float = math.inf
    final_loss: float = math.nan

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
        if self.first_loss is None:
            self.first_loss = float(losses[0])
        beaten = self.first_loss if self.baseline is None else self.baseline
        risen = rises(losses.numpy(), beaten, self.lowest_loss)
        self.lowest_loss = min(self.lowest_loss, float(losses.min()))
        self.final_loss = float(losses[-max(1, len(losses) // 10) :].mean())
        weights = torch.ones_like(losses) if examples is None else examples.double().cpu()

        def mean(values: Tensor) -> float:
            return float((values.double().cpu() * weights).sum() / weights.sum())

        means = {name: mean(values) for name, values in (metrics or {}).items()}
        return {
            "train_loss": mean(losses),
            # one that a batch leaves undefined says nothing of whether the run diverged
            **{name: value for name, value in means.items() if math.isfinite(value)},
            "grad_norm": float(grad_norms.max()),
            "loss_jump": float(risen.max()),
            "loss_jump_step": start + int(risen.argmax()),
        }, None

    def learned(self, validation_loss: float) -> bool | None:
        """Return whether the run has learned by the end of the epoch; `None` if unknown.

        Either loss may show it, on the validation data or of the epoch's last tenth of updates: a
        network that overfits has learned too.
        """
        if self.baseline is None:
            return None
        return any(has_fallen(loss, self.baseline) for loss in (validation_loss, self.final_loss))
