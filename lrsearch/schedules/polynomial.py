"""The family `polynomial`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Polynomial(Family):
    """Polynomial decay: a power of the run that is left.

    multiple = min_factor + (1 − min_factor) · (1 − x)^power

    With min_factor = 0 equals torch's `PolynomialLR(total_iters=T, power=power)`, which has no
    floor.

    Example:
        >>> from lrsearch.schedules import Polynomial, Schedule
        >>> Schedule(Polynomial(power=2.0), base_lr=1.0).curve(4).tolist()
        [1.0, 0.5625, 0.25, 0.0625]
    """

    name = "polynomial"
    use_when = "you want to choose between a late and an early decay by one number"
    drawback = "power and min_factor partly do the same"

    power: float = parameter(2.0, Float(0.5, 4.0, log=True), above=0)
    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return float(self.min_factor + (1 - self.min_factor) * (1 - position.x) ** self.power)
