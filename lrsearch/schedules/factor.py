"""Factor decay: many small drops down to a floor."""

from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, completed, parameter


@dataclass(frozen=True)
class Factor(Family):
    """Factor decay: many small drops down to a floor.

    multiple = max(floor, drop_factor^⌊x / step_size⌋)
    """

    name = "factor"
    use_when = "you want a gentle staircase that never freezes the network"
    drawback = "the floor is one more number, and often the rate sits on it for most of the run"

    drop_factor: float = parameter(0.8, Float(0.3, 0.95), above=0, at_most=1)
    step_size: float = parameter(0.1, Float(0.02, 0.2, log=True), above=0, at_most=1)
    floor: float = parameter(0.01, Float(1e-3, 0.1, log=True), at_least=0, at_most=1)

    def __call__(self, now: Moment) -> float:
        """Return max(floor, drop_factor^⌊x / step_size⌋)."""
        return max(self.floor, self.drop_factor ** completed(now.x, self.step_size))
