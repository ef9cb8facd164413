"""The family `exponential`."""

import math
from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Exponential(Family):
    """Exponential decay: the rate shrinks by the same share in every update.

    multiple = exp(−decay_rate · x)

    Equals torch's `ExponentialLR(gamma=exp(−decay_rate / T))`.

    Example:
        >>> from lrsearch.schedules import Exponential, Schedule
        >>> Schedule(Exponential(decay_rate=2.0), base_lr=1.0).curve(4).round(3).tolist()
        [1.0, 0.607, 0.368, 0.223]
    """

    name = "exponential"
    use_when = "you want a smooth decay with a single number"
    drawback = "decays fastest at the start, when a high rate is worth the most"

    decay_rate: float = parameter(3.0, Float(0.5, 8.0, log=True), at_least=0)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return math.exp(-self.decay_rate * position.x)
