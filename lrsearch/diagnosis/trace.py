"""A run looked at closely: loss and gradient norm at every update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lrsearch.diagnosis.range_test import kept_generators, kept_network
from lrsearch.schedules import Constant, Schedule, Warmup
from lrsearch.tasks import JUMP, Supervised, has_fallen, rises

Floats = NDArray[np.float64]
EVALUATIONS = 5
"""How often a trace is evaluated on the validation data, evenly over its updates."""


@dataclass(frozen=True)
class Trace:
    """A run at a constant rate, after a warmup if there is one.

    Arrays are [N], one entry for each of the `steps` planned unless a loss was not finite before:
    `losses` after each update, on one batch of the validation data that stays the same, so that
    each spike is the network's and none the batch's; `grad_norms` (L2, whole gradient, before
    clipping), `first_norms` and `last_norms` (root mean square of the gradient of the first and the
    last weight), `weight_norms` (L2, all parameters). `baseline` is the loss on that batch which a
    run must beat to have learned: the lower of the first and of a constant guess's. `best_val_loss`
    is that of the best checkpoint: of its evaluations on all of the validation data.
    """

    base_lr: float
    warmup_steps: int
    clip_norm: float | None
    optimizer: str
    steps: int
    baseline: float
    losses: Floats
    grad_norms: Floats
    first_norms: Floats
    last_norms: Floats
    weight_norms: Floats
    best_val_loss: float
    finite: bool
    seed: int

    @property
    def final_loss(self) -> float:
        """The mean loss of the last tenth of the updates."""
        return float(self.losses[-max(1, len(self.losses) // 10) :].mean())

    @property
    def infeasible(self) -> bool:
        """Whether the loss was not finite, or ended no better than at the start or by a guess."""
        return not self.finite or not has_fallen(self.final_loss, self.baseline)

    @property
    def instability(self) -> tuple[Literal["start", "middle"], int] | None:
        """Which of the two instabilities shows, and at which update; `None` where none does.

        At the start: within the first tenth. In the middle: suddenly, after that.
        """
        jumps = np.flatnonzero(rises(self.losses, self.baseline) > JUMP)
        if len(jumps) == 0 and self.finite:
            return None
        step = int(jumps[0]) if len(jumps) else len(self.losses)
        return ("start" if step < max(10, self.steps // 10) else "middle"), step

    @property
    def stable(self) -> bool:
        """Whether it trains: neither infeasible nor unstable."""
        return not self.infeasible and self.instability is None

    @property
    def clipped_share(self) -> float:
        """The share of updates whose gradient was clipped."""
        return float((self.grad_norms > self.clipped_norms).mean())

    @property
    def clipped_norms(self) -> Floats:
        """The gradient's norms after clipping."""
        return np.minimum(self.grad_norms, np.inf if self.clip_norm is None else self.clip_norm)


def train_trace(
    task: Supervised,
    base_lr: float,
    *,
    steps: int,
    seed: int,
    device: str,
    warmup_steps: int = 0,
    clip_norm: float | None = None,
) -> Trace:
    """Train at a constant rate for some updates and look at each.

    The network and torch's generators are afterwards as they were.

    Args:
        task: what is trained.
        base_lr: the rate, after the warmup.
        steps: how many updates, the warmup's among them.
        seed: of the weights and the order of the data.
        device: a torch device.
        warmup_steps: updates of a linear rise to the rate.
        clip_norm: in place of the task's own.
    """
    warmup = Warmup("linear", warmup_steps / steps) if warmup_steps else None
    schedule = Schedule(Constant(), base_lr, warmup)
    rows: list[tuple[float, ...]] = []
    evaluations: list[float] = []
    finite = True
    with kept_generators(device), kept_network(task, seed, device, base_lr) as training:
        training.clip_norm = clip_norm or training.clip_norm
        scheduler = schedule.torch(training.optimizer, steps)
        watched = [tensor[: task.batch_size] for tensor in training.data.validation]
        baseline = task.baseline_on(training, *watched)
        parameters = [p for p in training.network.parameters() if p.requires_grad]
        weights = [p for p in parameters if p.dim() > 1] or parameters
        for step, update in zip(range(steps), training.updates(), strict=False):
            loss = training.loss_on(*watched)
            if not np.isfinite(loss) or not torch.isfinite(update.loss):
                finite = False
                break
            total = float(torch.nn.utils.get_total_norm([p.detach() for p in parameters]))
            norms = (float(update.grad_norm), _rms(weights[0]), _rms(weights[-1]), total)
            rows.append((loss, *norms))
            scheduler.step()
            if (step + 1) * EVALUATIONS % steps < EVALUATIONS:
                evaluations.append(task.validation_loss(training))
    losses, grad_norms, first_norms, last_norms, weight_norms = (
        np.array(rows).T if rows else np.full((5, 1), np.nan)
    )
    seen = [loss for loss in evaluations if np.isfinite(loss)]
    return Trace(
        base_lr=base_lr,
        warmup_steps=warmup_steps,
        clip_norm=clip_norm,
        optimizer=task.optimizer_name,
        steps=steps,
        baseline=baseline,
        losses=losses,
        grad_norms=grad_norms,
        first_norms=first_norms,
        last_norms=last_norms,
        weight_norms=weight_norms,
        best_val_loss=min(seen, default=float("inf")),
        finite=finite,
        seed=seed,
    )


def _rms(parameter: torch.nn.Parameter) -> float:
    gradient = parameter.grad
    return 0.0 if gradient is None else float(gradient.norm()) / gradient.numel() ** 0.5
