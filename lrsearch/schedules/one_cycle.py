"""The family `one_cycle`."""

import math
from dataclasses import dataclass

from lrsearch.errors import ScheduleError
from lrsearch.schedules.domains import Choice, Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class OneCycle(Family):
    """One cycle: a rise to the peak, then down far below the start; momentum the other way round.

    The multiple goes from 1 / div_factor to 1 over x < pct_start, then to
    1 / (div_factor · final_div_factor) at x = 1, along half a cosine (`cos`) or a line (`linear`);
    momentum goes from max_momentum to base_momentum and back. With `three_phase` the multiple is
    back at 1 / div_factor, and the momentum at max_momentum, at x = 2 · pct_start, and goes down
    from there (Smith's own; torch's option of that name). Where pct_start · T is not whole, the
    peak falls between two updates.

    Source: Smith & Topin 2018. Equals torch's
    `OneCycleLR(total_steps=T + 1, pct_start=(pct_start · T + 1) / (T + 1))`, of two phases or of
    three: torch's own phases end one update early, cannot rise in one update, and raise an error
    past the end.

    Example:
        >>> from lrsearch.schedules import OneCycle, Schedule
        >>> schedule = Schedule(OneCycle(pct_start=0.5, div_factor=4, anneal="linear"), base_lr=1.0)
        >>> schedule.curve(4).round(3).tolist()
        [0.25, 0.625, 1.0, 0.5]
        >>> [round(schedule.momentum(step, 4), 3) for step in range(4)]
        [0.95, 0.9, 0.85, 0.9]
    """

    name = "one_cycle"
    use_when = "you have a fixed budget and want the best it can give: high rates, trained fast"
    drawback = "many numbers, and useless if stopped before its end"

    has_own_warmup = True
    pct_start: float = parameter(0.3, Float(0.1, 0.5), above=0, below=1)
    div_factor: float = parameter(25.0, Float(3.0, 100.0, log=True), at_least=1)
    final_div_factor: float = parameter(1e4, Float(10.0, 1e5, log=True), at_least=1)
    anneal: str = parameter("cos", Choice(("cos", "linear")))
    base_momentum: float = parameter(0.85, above=0, below=1)
    max_momentum: float = parameter(0.95, above=0, below=1)
    three_phase: bool = parameter(False)

    def check(self) -> None:
        """Refuse momenta the wrong way round, and two phases that do not fit the run."""
        if self.three_phase and self.pct_start > 0.5:
            raise ScheduleError(
                "one_cycle.pct_start must be at most 0.5 with three_phase, whose first two phases "
                f"are equally long, but got {self.pct_start}; lower it"
            )
        if self.base_momentum > self.max_momentum:
            raise ScheduleError(
                "one_cycle.base_momentum must be at most max_momentum, but got "
                f"{self.base_momentum} > {self.max_momentum}; swap them"
            )

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        start = 1 / self.div_factor
        return self._wave(position.x, (start, 1.0), start, start / self.final_div_factor)

    def momentum(self, position: Position) -> float | None:
        """Return max_momentum → base_momentum → max_momentum."""
        high, low = self.max_momentum, self.base_momentum
        return self._wave(position.x, (high, low), high, high)

    def _wave(self, x: float, rise: tuple[float, float], back: float, end: float) -> float:
        """Return the value at x of a curve that rises, goes back if of three phases, and ends."""
        start, middle = rise
        if x < self.pct_start:
            share, left, right = x / self.pct_start, start, middle
        elif self.three_phase and x < 2 * self.pct_start:
            share, left, right = x / self.pct_start - 1, middle, back
        else:
            begin = (2 if self.three_phase else 1) * self.pct_start
            left, right = back if self.three_phase else middle, end
            share = (x - begin) / (1 - begin)
        if self.anneal == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        return left + (right - left) * share
