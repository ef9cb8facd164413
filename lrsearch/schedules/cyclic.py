"""The family `cyclic`."""

from dataclasses import dataclass

from lrsearch.errors import ScheduleError
from lrsearch.schedules.domains import Choice, Float
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class Cyclic(Family):
    """Cyclical learning rate: up and down between two bounds.

    multiple = min_factor + (1 − min_factor) · (1 − |2p − 1|) · amplitude

    Here p is the progress in cycle n, and the amplitude is 1 (`triangular`), 2^(−n) (`triangular2`)
    or gamma^x (`exp_range`). A cycle may be longer than the run, which then sees its beginning.
    With `cycle_momentum` (torch's default) the momentum goes from max_momentum to base_momentum
    while the rate rises, by as much as the amplitude lets it, and back.

    Source: Smith 2017. Equals torch's `CyclicLR(base_lr=min_factor · base_lr, max_lr=base_lr)`
    where half a cycle is a whole number of updates; torch's gamma counts updates, so it is this
    gamma^(1/T).

    Example:
        >>> from lrsearch.schedules import Cyclic, Schedule
        >>> Schedule(Cyclic(cycle_size=0.5, min_factor=0.2), base_lr=1.0).curve(8).round(3).tolist()
        [0.2, 0.6, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6]
    """

    name = "cyclic"
    use_when = "you do not know the best rate but know a range that holds it"
    drawback = "the last cycle may end anywhere, and the rate is often higher than needed"

    has_own_warmup = True
    cycle_size: float = parameter(0.25, Float(0.1, 1.0), above=0)
    min_factor: float = parameter(0.1, Float(1e-3, 0.5, log=True), at_least=0, at_most=1)
    mode: str = parameter("triangular", Choice(("triangular", "triangular2", "exp_range")))
    gamma: float = parameter(
        1.0, Float(1e-3, 1.0, log=True), above=0, at_most=1, only_if=("mode", "exp_range")
    )

    cycle_momentum: bool = parameter(False)
    base_momentum: float = parameter(0.8, above=0, below=1, only_if=("cycle_momentum", True))
    max_momentum: float = parameter(0.9, above=0, below=1, only_if=("cycle_momentum", True))

    def check(self) -> None:
        """Refuse momenta the wrong way round."""
        if self.base_momentum > self.max_momentum:
            raise ScheduleError(
                "cyclic.base_momentum must be at most max_momentum, but got "
                f"{self.base_momentum} > {self.max_momentum}; swap them"
            )

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        return self.min_factor + (1 - self.min_factor) * self._height(position)

    def momentum(self, position: Position) -> float | None:
        """Return max_momentum → base_momentum → max_momentum in every cycle, if it is moved."""
        if not self.cycle_momentum:
            return None
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self._height(position)

    def _height(self, position: Position) -> float:
        """Return how far up the cycle is, in [0, 1]."""
        cycle = completed(position.x, self.cycle_size)
        progress = max(0.0, position.x / self.cycle_size - cycle)
        height = 1 - abs(2 * progress - 1)
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**position.x
        return height
