"""The family `multistep`."""

from dataclasses import dataclass

from lrsearch.errors import ScheduleError
from lrsearch.schedules.domains import Float, Increasing
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class MultiStep(Family):
    """Multistep decay: the rate drops by the same factor at chosen points of the run.

    multiple = drop_factor^(number of milestones ≤ x)

    Equals torch's `MultiStepLR` where every milestone · T is whole; torch accepts milestones out of
    order, this family refuses them.

    Example:
        >>> from lrsearch.schedules import MultiStep, Schedule
        >>> schedule = Schedule(MultiStep(drop_factor=0.5, milestones=(0.5, 0.75)), base_lr=0.4)
        >>> schedule.curve(4).tolist()
        [0.4, 0.4, 0.2, 0.1]
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

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        passed = sum(completed(position.x, milestone) >= 1 for milestone in self.milestones)
        return self.drop_factor**passed
