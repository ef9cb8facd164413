"""Inverse square-root decay: fast at first, then ever slower."""

from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class SquareRoot(Family):
    """Inverse square-root decay: fast at first, then ever slower.

    multiple = (1 + time_scale · x)^(−½). With time_scale = T / t₀ this is the
    (1 + t / t₀)^(−½) of stochastic approximation (Robbins & Monro 1951).
    """

    name = "square_root"
    use_when = "the length of the run is not settled: it has no end it aims at"
    drawback = "ends at a rate too high to settle unless time_scale is large"

    time_scale: float = parameter(10.0, Float(1.0, 1000.0, log=True), at_least=0)

    def __call__(self, now: Moment) -> float:
        """Return (1 + time_scale · x)^(−½)."""
        return float((1 + self.time_scale * now.x) ** -0.5)
