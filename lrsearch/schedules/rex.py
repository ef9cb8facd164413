"""The family `rex`."""

from dataclasses import dataclass

from lrsearch.schedules.family import Family, Position


@dataclass(frozen=True)
class Rex(Family):
    """REX: stays high for long, then falls ever faster; nothing to tune.

    multiple = (1 − x) / (1 − x / 2)

    Source: Chen, Wolfe & Kyrillidis 2022, "REX: Revisiting budgeted training with an improved
    schedule" (arXiv 2107.04197).

    Example:
        >>> from lrsearch.schedules import Rex, Schedule
        >>> Schedule(Rex(), base_lr=1.0).curve(4).round(3).tolist()
        [1.0, 0.857, 0.667, 0.4]
    """

    name = "rex"
    use_when = "the budget is small and you want no further number to tune"
    drawback = "no floor and no shape to adapt"

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return (1 - position.x) / (1 - position.x / 2)
