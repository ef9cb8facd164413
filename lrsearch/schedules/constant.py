"""Constant: the learning rate never changes."""

from dataclasses import dataclass

from lrsearch.schedules.family import Family, Moment


@dataclass(frozen=True)
class Constant(Family):
    """Constant: the learning rate never changes.

    multiple = 1
    """

    name = "constant"
    use_when = "you want a baseline, or average the weights yourself"
    drawback = "never settles: the noise of SGD stays as large as at the start"

    def __call__(self, now: Moment) -> float:
        """Return 1."""
        return 1.0
