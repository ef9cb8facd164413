"""The family `step`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class Step(Family):
    """Step decay: the rate drops by the same factor at equal intervals.

    multiple = drop_factor^⌊x / step_size⌋

    Equals torch's `StepLR(step_size · T, drop_factor)` where step_size · T is whole.

    Example:
        >>> from lrsearch.schedules import Schedule, Step
        >>> Schedule(Step(drop_factor=0.5, step_size=0.5), base_lr=0.1).curve(4).tolist()
        [0.1, 0.1, 0.05, 0.05]
    """

    name = "step"
    use_when = "you know the classic recipes and want few, clear phases"
    drawback = "two more numbers to tune, and the drops come whether training is ready or not"

    drop_factor: float = parameter(0.1, Float(0.05, 0.9, log=True), above=0, at_most=1)
    step_size: float = parameter(1 / 3, Float(0.1, 0.5), above=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return self.drop_factor ** completed(position.x, self.step_size)
