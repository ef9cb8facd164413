"""The family `cyclic`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Choice, Float
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class Cyclic(Family):
    """Cyclical learning rate: up and down between two bounds.

    multiple = min_factor + (1 − min_factor) · (1 − |2p − 1|) · amplitude

    Here p is the progress in cycle n, and the amplitude is 1 (`triangular`), 2^(−n) (`triangular2`)
    or gamma^x (`exp_range`).

    Source: Smith 2017. Equals torch's `CyclicLR(base_lr=min_factor · base_lr, max_lr=base_lr)`
    where half a cycle is a whole number of updates; torch's gamma counts updates, so it is this
    gamma^(1/T).

    Example:
        >>> from lrsearch.schedules import Cyclic, Schedule
        >>> Schedule(Cyclic(cycle_size=0.5, min_factor=0.2), base_lr=1.0).curve(8).round(3).tolist()
        [0.2, 0.6, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6]
    """

    name = "cyclic"
    use_when = "you do not know the best rate but know a range that holds it"
    drawback = "the last cycle may end anywhere, and the rate is often higher than needed"

    has_own_warmup = True
    cycle_size: float = parameter(0.25, Float(0.1, 1.0), above=0, at_most=1)
    min_factor: float = parameter(0.1, Float(1e-3, 0.5, log=True), at_least=0, at_most=1)
    mode: str = parameter("triangular", Choice(("triangular", "triangular2", "exp_range")))
    gamma: float = parameter(
        1.0, Float(1e-3, 1.0, log=True), above=0, at_most=1, only_if=("mode", "exp_range")
    )

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        cycle = completed(position.x, self.cycle_size)
        progress = max(0.0, position.x / self.cycle_size - cycle)
        height = 1 - abs(2 * progress - 1)
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**position.x
        return self.min_factor + (1 - self.min_factor) * height
