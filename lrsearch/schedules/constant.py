"""The family `constant`."""

from dataclasses import dataclass

from lrsearch.schedules.family import Family, Position


@dataclass(frozen=True)
class Constant(Family):
    """Constant: the learning rate never changes.

    multiple = 1

    Example:
        >>> from lrsearch.schedules import Constant, Schedule
        >>> Schedule(Constant(), base_lr=0.1).curve(3).tolist()
        [0.1, 0.1, 0.1]
    """

    name = "constant"
    use_when = "you want a baseline, or average the weights yourself"
    drawback = "never settles: the noise of SGD stays as large as at the start"

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return 1.0
