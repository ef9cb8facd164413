"""Exponential decay: the rate shrinks by the same share in every update."""

import math
from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class Exponential(Family):
    """Exponential decay: the rate shrinks by the same share in every update.

    multiple = exp(−decay_rate · x). Equals torch's `ExponentialLR(gamma=exp(−decay_rate / T))`.
    """

    name = "exponential"
    use_when = "you want a smooth decay with a single number"
    drawback = "decays fastest at the start, when a high rate is worth the most"

    decay_rate: float = parameter(3.0, Float(0.5, 8.0, log=True), at_least=0)

    def __call__(self, now: Moment) -> float:
        """Return exp(−decay_rate · x)."""
        return math.exp(-self.decay_rate * now.x)
