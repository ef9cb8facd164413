"""Cosine decay: half a cosine wave from the peak to min_factor."""

import math
from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class Cosine(Family):
    """Cosine decay: half a cosine wave from the peak to min_factor.

    multiple = min_factor + (1 − min_factor) · (1 + cos πx) / 2. Loshchilov & Hutter 2017 (SGDR)
    without restarts. Equals torch's `CosineAnnealingLR(T_max=T)`; torch's rises again past
    the end, this one holds its last value.
    """

    name = "cosine"
    use_when = "you want one default for image models: high for long, then a soft landing"
    drawback = "must know the length of the run; stopped early it is still at a high rate"

    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, now: Moment) -> float:
        """Return min_factor + (1 − min_factor) · (1 + cos πx) / 2."""
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * now.x)) / 2
