"""A schedule as a torch `LRScheduler`. The only module of this package that imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Rates(Protocol):
    """What is followed; a `Schedule` is one."""

    def lr(self, step: int, total_steps: int, losses: Sequence[float] = ...) -> float:
        """Return the learning rate of one update."""
        ...

    def momentum(self, step: int, total_steps: int) -> float | None:
        """Return the momentum of one update; `None` where it is left alone."""
        ...


class ScheduleLR(LRScheduler):
    """Sets the learning rate, and momentum where the schedule moves it, of every update.

    The first parameter group gets the schedule's rate; the others keep their initial ratio to it.
    Momentum (or the first of Adam's betas) moves only in groups where it was not zero.

    The state is the step and the losses so far: plain JSON. Loading it sets the optimizer's rates
    at once, so a run continues exactly even where the optimizer's own state is loaded before,
    after or never.
    """

    def __init__(self, optimizer: Optimizer, schedule: Rates, total_steps: int) -> None:
        first = float(optimizer.param_groups[0].get("initial_lr", optimizer.param_groups[0]["lr"]))
        self.ratios = [
            float(group.get("initial_lr", group["lr"])) / first if first else 1.0
            for group in optimizer.param_groups
        ]
        self.schedule = schedule
        self.total_steps = total_steps
        self.losses: list[float] = []
        super().__init__(optimizer)

    def step(self, loss: float | None = None) -> None:
        """Go on to the next update; `loss` is the validation loss if there was an evaluation."""
        if loss is not None:
            self.losses.append(float(loss))
        super().step()
        self._move_momentum()

    def get_lr(self) -> list[Any]:
        """Return the rate of each parameter group for the coming update."""
        lr = self.schedule.lr(self.last_epoch, self.total_steps, self.losses)
        return [lr * ratio for ratio in self.ratios]

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the losses so far and the groups' ratios."""
        return {"step": self.last_epoch, "losses": list(self.losses), "ratios": list(self.ratios)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, and set the optimizer's rates accordingly."""
        self.losses = list(state_dict["losses"])
        self.ratios = list(state_dict["ratios"])
        self.last_epoch = state_dict["step"] - 1
        with (
            warnings.catch_warnings()
        ):  # torch's step sets the rates, and warns: no update was made
            warnings.simplefilter("ignore", UserWarning)
            super().step()
        self._move_momentum()

    def _move_momentum(self) -> None:
        momentum = self.schedule.momentum(self.last_epoch, self.total_steps)
        if momentum is None:
            return
        for group in self.optimizer.param_groups:
            if group.get("momentum"):
                group["momentum"] = momentum
            elif "betas" in group and group["betas"][0]:
                group["betas"] = (momentum, *group["betas"][1:])
