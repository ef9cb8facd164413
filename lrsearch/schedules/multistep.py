"""Multistep decay: the rate drops by the same factor at chosen points of the run."""

from dataclasses import dataclass

from lrsearch.domains import Float, Increasing
from lrsearch.errors import ScheduleError
from lrsearch.schedules.family import Family, Moment, completed, parameter


@dataclass(frozen=True)
class MultiStep(Family):
    """Multistep decay: the rate drops by the same factor at chosen points of the run.

    multiple = drop_factor^(number of milestones ≤ x). Equals torch's `MultiStepLR` where every
    milestone · T is whole; torch accepts milestones out of order, this family refuses them.
    """

    name = "multistep"
    use_when = "you know from earlier runs where the loss flattens"
    drawback = "milestones tuned for one budget or batch size seldom fit another"

    drop_factor: float = parameter(0.1, Float(0.05, 0.9, log=True), above=0, at_most=1)
    milestones: tuple[float, ...] = parameter(
        (0.5, 0.75), Increasing(0.2, 0.8, 3), above=0, below=1
    )

    def check(self) -> None:
        """Refuse milestones that are none or do not increase."""
        pairs = zip(self.milestones, self.milestones[1:], strict=False)
        if not self.milestones or any(a >= b for a, b in pairs):
            raise ScheduleError(
                "multistep.milestones must be one or more increasing fractions of the run, "
                f"but got {list(self.milestones)}; sort them and drop repeats"
            )

    def __call__(self, now: Moment) -> float:
        """Return drop_factor^(number of milestones ≤ x)."""
        passed = sum(completed(now.x, milestone) >= 1 for milestone in self.milestones)
        return self.drop_factor**passed
