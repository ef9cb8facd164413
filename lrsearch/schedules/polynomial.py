"""Polynomial decay: a power of the run that is left."""

from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class Polynomial(Family):
    """Polynomial decay: a power of the run that is left.

    multiple = min_factor + (1 − min_factor) · (1 − x)^power. With min_factor = 0 equals torch's
    `PolynomialLR(total_iters=T, power=power)`, which has no floor.
    """

    name = "polynomial"
    use_when = "you want to choose between a late and an early decay by one number"
    drawback = "power and min_factor partly do the same"

    power: float = parameter(2.0, Float(0.5, 4.0, log=True), above=0)
    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, now: Moment) -> float:
        """Return min_factor + (1 − min_factor) · (1 − x)^power."""
        return float(self.min_factor + (1 - self.min_factor) * (1 - now.x) ** self.power)
