"""The family `cosine`."""

import math
from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Cosine(Family):
    """Cosine decay: half a cosine wave from the peak to min_factor.

    multiple = min_factor + (1 − min_factor) · (1 + cos πx) / 2

    Source: Loshchilov & Hutter 2017 (SGDR), without restarts. Equals torch's
    `CosineAnnealingLR(T_max=T)`; torch's rises again past the end, this one holds its last value.

    Example:
        >>> from lrsearch.schedules import Cosine, Schedule
        >>> Schedule(Cosine(min_factor=0.1), base_lr=1.0).curve(4).round(3).tolist()
        [1.0, 0.868, 0.55, 0.232]
    """

    name = "cosine"
    use_when = "you want one default for image models: high for long, then a soft landing"
    drawback = "must know the length of the run; stopped early it is still at a high rate"

    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * position.x)) / 2
