"""The family `linear`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Linear(Family):
    """Linear decay: a straight line from the peak to min_factor.

    multiple = 1 − (1 − min_factor) · x

    Equals torch's `LinearLR(start_factor=1, end_factor=min_factor, total_iters=T)`.

    Example:
        >>> from lrsearch.schedules import Linear, Schedule
        >>> Schedule(Linear(), base_lr=1.0).curve(4).tolist()
        [1.0, 0.75, 0.5, 0.25]
    """

    name = "linear"
    use_when = "you want the simplest decay that ends low; hard to beat with Adam"
    drawback = "spends as long near the peak as near the end, whatever the task needs"

    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return 1 - (1 - self.min_factor) * position.x
