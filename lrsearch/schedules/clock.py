"""The clock of a run: how many updates it has, its parts, and what rate holds at each update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lrsearch.errors import ScheduleError
from lrsearch.schedules.drawing import Line, Unit
from lrsearch.schedules.schedule import Schedule

LrEvery = Literal["update", "epoch"]
"""How often the rate changes: with every update, or once an epoch of the full run."""


@dataclass(frozen=True)
class Clock:
    """How time passes in a run: training, packs, figures and exports all ask here.

    A run of any length has as many parts as the full run has epochs, so a compressed run has as
    many evaluations (which `plateau` reads) and, where the rate changes once an epoch, as many
    different rates as the full one.

    Args:
        total_steps: T, the updates of the run, at least 1.
        parts: the epochs of the full run, at least 1.
        lr_every: whether the rate of update t is `schedule.lr(t, T)`, or in each part p
            `schedule.lr(p, parts)`.
        lead: how much of the schedule's time, updates or parts, is prepended to the run: that of a
            warmup which makes it longer. `total_steps` counts it, `parts` does not.

    Raises:
        ScheduleError: if a number is below 1, or nothing follows what is prepended.

    Example:
        >>> from lrsearch.schedules import Linear, Schedule
        >>> clock = Clock(total_steps=6, parts=3, lr_every="epoch")
        >>> clock.curve(Schedule(Linear(), base_lr=3.0)).tolist()
        [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]
    """

    total_steps: int
    parts: int
    lr_every: LrEvery = "update"
    lead: int = 0

    def __post_init__(self) -> None:
        for name, value in (("update", self.total_steps), ("part", self.parts)):
            if value < 1:
                raise ScheduleError(f"a run has at least 1 {name}, but got {value}")
        if self.lead < 0 or self.main_steps < 1:
            raise ScheduleError(
                f"a run of {self.total_steps} updates cannot begin with {self.lead} "
                f"{self.lr_every}s of warmup; train longer or shorten the warmup"
            )

    def prepended(self, schedule: Schedule) -> Clock:
        """Return the clock of the run with what the schedule prepends to it: a warmup, or nothing.

        Example:
            >>> from lrsearch.schedules import Linear, Schedule, Warmup
            >>> schedule = Schedule(Linear(), 1.0, Warmup("linear", 0.1, prepend=True))
            >>> Clock(total_steps=1000, parts=10).prepended(schedule)
            Clock(total_steps=1100, parts=10, lr_every='update', lead=100)
        """
        lead = schedule.run_length(self.length) - self.length
        longer = lead if self.lr_every == "update" else lead * self.total_steps // self.parts
        return replace(self, total_steps=self.total_steps + longer, lead=lead)

    @property
    def length(self) -> int:
        """The length of the run in the schedule's time: updates, or parts."""
        return self.total_steps if self.lr_every == "update" else self.lead + self.parts

    @property
    def lead_steps(self) -> int:
        """The updates that are prepended to the run."""
        return self.lead * self.total_steps // self.length

    @property
    def main_steps(self) -> int:
        """The updates that follow those which are prepended: the run itself."""
        return self.total_steps - self.lead_steps

    def time(self, step: int) -> int:
        """Return at which time the schedule is asked for update `step`: the update, or its part."""
        return step * self.length // self.total_steps

    def parts_before(self, step: int) -> int:
        """Return how many parts are over before update `step`, counted from 0."""
        if self.lr_every == "epoch":
            return max(0, self.time(step) - self.lead)
        return max(0, step - self.lead) * self.parts // self.main_steps

    def ends_part(self, step: int) -> bool:
        """Return whether a part is over after `step` updates, and was not after one fewer."""
        return self.parts_before(step) > self.parts_before(step - 1)

    def lr(self, schedule: Schedule, step: int, losses: Sequence[float] = ()) -> float:
        """Return the learning rate of update `step`, after these validation losses."""
        return schedule.lr(self.time(step), self.length, losses)

    def momentum(self, schedule: Schedule, step: int) -> float | None:
        """Return the momentum of update `step`; `None` where the schedule leaves it alone."""
        return schedule.momentum(self.time(step), self.length)

    def losses_before(self, step: int, losses: Sequence[float]) -> Sequence[float]:
        """Return those of a run's losses, spread evenly over it, that are known at an update."""
        return losses[: max(0, step - self.lead_steps) * len(losses) // self.main_steps]

    def curve(self, schedule: Schedule, losses: Sequence[float] = ()) -> NDArray[np.float64]:
        """Return the learning rate of every update, float64[total_steps].

        `losses` are those of evaluations spread evenly over the run (`plateau` alone reads them).
        """
        rates = (
            self.lr(schedule, step, self.losses_before(step, losses))
            for step in range(self.total_steps)
        )
        return np.fromiter(rates, np.float64, self.total_steps)

    def line(self, schedule: Schedule, by: Unit, losses: Sequence[float] = ()) -> Line:
        """Return what there is to draw of a run; by epochs a prepended warmup lies before 0."""
        steps = np.arange(self.total_steps, dtype=np.float64)
        epochs = (steps - self.lead_steps) * self.parts / self.main_steps
        momenta = [self.momentum(schedule, step) for step in range(self.total_steps)]
        x = steps if by == "updates" else epochs
        return Line(x, self.curve(schedule, losses), np.array(momenta, dtype=np.float64))

    def scaled(self, total_steps: int) -> Clock:
        """Return the clock of a run of another length, with as many parts."""
        lead = self.lead
        if self.lr_every == "update":
            lead = min(round(lead * total_steps / self.total_steps), total_steps - 1)
        return replace(self, total_steps=total_steps, lead=lead)
