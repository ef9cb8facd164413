"""A network in training at the rates of a schedule, epoch by epoch; alone or with others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrsearch.schedules import Clock
from lrsearch.tasks.loop import Update
from lrsearch.tasks.optimizers import set_mode
from lrsearch.tasks.training import Training
from lrsearch.tasks.watch import Watch

Hear = Callable[[int], float]
"""Returns the loss that a schedule reads after so many updates."""


class ScheduledTraining:
    """A run's training, whose rates are the schedule's.

    Args:
        training: fresh from `Supervised.start`.
        watch: of the schedule, which is trained whole.
        clock: of the run.
        epochs: of the run.
        steps_per_epoch: updates in each.
    """

    def __init__(
        self,
        training: Training,
        watch: Watch,
        clock: Clock,
        *,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        self.training = training
        self.watch = watch
        self.clock = clock
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.scheduler = watch.trained.torch(training.optimizer, clock.length)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `run_state`."""
        self.training.load_state_dict(state)
        if not self.watch.over:
            self.watch.load_state_dict(state["watch"])
            self.scheduler.schedule = self.watch.trained
        self.scheduler.load_state_dict(state["scheduler"])

    def start_of(self, number: int) -> int:
        """Return the updates before an epoch; what is prepended counts as the first one's."""
        return self.clock.lead_steps + number * self.steps_per_epoch if number else 0

    def epoch(self, number: int, hear: Hear) -> list[Update]:
        """Train an epoch and return its updates; `hear` is called where the schedule reads."""
        first = number == 0
        training, clock, watch = self.training, self.clock, self.watch
        updates = (
            training.first_epoch(clock.lead_steps, self.epochs) if first else training.epoch(number)
        )
        seen = []
        for step, update in enumerate(updates, self.start_of(number) + 1):
            seen.append(update)
            if not watch.over:
                watch.update(step, float(update.loss), float(update.grad_norm))
                self.scheduler.schedule = watch.trained
            reads = clock.ends_part(step) and watch.trained.family.reads_losses
            heard = hear(step) if reads else None
            for move in range(clock.time(step) - clock.time(step - 1)):
                self.scheduler.step(None if move else heard)
        return seen

    def measured(self, seen: Sequence[Update]) -> Tensor:
        """Return what updates have measured of the whole batches, [S, 1 + M]: loss, then metrics.

        Of processes that train together all must call it.
        """
        losses = torch.stack([update.loss for update in seen])
        metrics = torch.stack([update.metrics for update in seen])
        values = torch.cat([losses.unsqueeze(1), metrics], dim=1)
        rank = self.training.rank
        return rank.whole(values, [update.examples for update in seen]) if rank else values

    def follow(self, number: int) -> None:
        """Train an epoch as one of several processes, of which the first evaluates."""
        rank = self.training.rank
        assert rank is not None

        def hear(_step: int) -> float:
            set_mode(self.training.optimizer, "eval")  # as the first: it may round the weights
            return rank.agree(math.nan)

        self.measured(self.epoch(number, hear))
        set_mode(self.training.optimizer, "eval")
