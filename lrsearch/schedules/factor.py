"""The family `factor`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class Factor(Family):
    """Factor decay: many small drops down to a floor.

    multiple = max(floor, drop_factor^⌊x / step_size⌋)

    Example:
        >>> from lrsearch.schedules import Factor, Schedule
        >>> schedule = Schedule(Factor(drop_factor=0.5, step_size=0.2, floor=0.2), base_lr=1.0)
        >>> schedule.curve(5).tolist()
        [1.0, 0.5, 0.25, 0.2, 0.2]
    """

    name = "factor"
    use_when = "you want a gentle staircase that never freezes the network"
    drawback = "the floor is one more number, and often the rate sits on it for most of the run"

    drop_factor: float = parameter(0.8, Float(0.3, 0.95), above=0, at_most=1)
    step_size: float = parameter(0.1, Float(0.02, 0.2, log=True), above=0, at_most=1)
    floor: float = parameter(0.01, Float(1e-3, 0.1, log=True), at_least=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return max(self.floor, self.drop_factor ** completed(position.x, self.step_size))
