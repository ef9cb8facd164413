"""The family `square_root`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class SquareRoot(Family):
    """Inverse square-root decay: fast at first, then ever slower.

    multiple = (1 + time_scale · x)^(−½)

    Source: stochastic approximation (Robbins & Monro 1951); with time_scale = T / t₀ this is its
    (1 + t / t₀)^(−½).

    Example:
        >>> from lrsearch.schedules import Schedule, SquareRoot
        >>> Schedule(SquareRoot(time_scale=12.0), base_lr=1.0).curve(4).round(3).tolist()
        [1.0, 0.5, 0.378, 0.316]
    """

    name = "square_root"
    use_when = "the length of the run is not settled: it has no end it aims at"
    drawback = "ends at a rate too high to settle unless time_scale is large"

    time_scale: float = parameter(10.0, Float(1.0, 1000.0, log=True), at_least=0)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return float((1 + self.time_scale * position.x) ** -0.5)
