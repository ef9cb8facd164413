"""Cyclical learning rate: up and down between two bounds."""

from dataclasses import dataclass

from lrsearch.domains import Choice, Float
from lrsearch.schedules.family import Family, Moment, completed, parameter


@dataclass(frozen=True)
class Cyclic(Family):
    """Cyclical learning rate: up and down between two bounds.

    With p the progress in a cycle and n its number, the multiple is
    min_factor + (1 − min_factor) · (1 − |2p − 1|) · amplitude, where the amplitude is 1
    (`triangular`), 2^(−n) (`triangular2`) or gamma^x (`exp_range`). Smith 2017. Equals torch's
    `CyclicLR(base_lr=min_factor · base_lr, max_lr=base_lr)` where half a cycle is a whole number of
    updates; torch's gamma counts updates, so it is this gamma^(1/T).
    """

    name = "cyclic"
    use_when = "you do not know the best rate but know a range that holds it"
    drawback = "the last cycle may end anywhere, and the rate is often higher than needed"

    own_rise = True
    cycle_size: float = parameter(0.25, Float(0.1, 1.0), above=0, at_most=1)
    min_factor: float = parameter(0.1, Float(1e-3, 0.5, log=True), at_least=0, at_most=1)
    mode: str = parameter("triangular", Choice(("triangular", "triangular2", "exp_range")))
    gamma: float = parameter(
        1.0, Float(1e-3, 1.0, log=True), above=0, at_most=1, only_if=("mode", "exp_range")
    )

    def __call__(self, now: Moment) -> float:
        """Return the triangle wave, its amplitude shrunk as the mode says."""
        cycle = completed(now.x, self.cycle_size)
        progress = max(0.0, now.x / self.cycle_size - cycle)
        height = 1 - abs(2 * progress - 1)
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**now.x
        return self.min_factor + (1 - self.min_factor) * height
