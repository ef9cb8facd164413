"""REX: stays high for long, then falls ever faster; nothing to tune."""

from dataclasses import dataclass

from lrsearch.schedules.family import Family, Moment


@dataclass(frozen=True)
class Rex(Family):
    """REX: stays high for long, then falls ever faster; nothing to tune.

    multiple = (1 − x) / (1 − x / 2). Chen, Wolfe & Kyrillidis 2022, "REX: Revisiting budgeted
    training with an improved schedule" (arXiv 2107.04197).
    """

    name = "rex"
    use_when = "the budget is small and you want no further number to tune"
    drawback = "no floor and no shape to adapt"

    def __call__(self, now: Moment) -> float:
        """Return (1 − x) / (1 − x / 2)."""
        return (1 - now.x) / (1 - now.x / 2)
