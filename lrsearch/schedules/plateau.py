"""The family `plateau`."""

import math
from dataclasses import dataclass

from lrsearch.schedules.domains import Float, Int
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Plateau(Family):
    """Reduce on plateau: the rate drops when the validation loss stops improving.

    The rule of torch's `ReduceLROnPlateau(factor=drop_factor, threshold_mode="rel")`, as a pure
    function of the losses of the evaluations so far. A loss is bad unless it is below the best by
    the share `threshold`; NaN is bad. After more than `patience` bad losses in a row the multiple
    is cut to drop_factor of itself (at least min_factor), and the next `cooldown` losses do not
    count. `metric` is what is read in place of the loss, any metric of the validations, and with
    `maximize` (torch's mode="max") it is to rise.

    `patience` is torch's, and Keras's minus one: with 1 the rate drops after the second bad loss in
    a row, for which Keras's patience is 2 (exports write each framework's own number). `patience`
    and `cooldown` count evaluations, of which a run of any length has as many as the full run has
    epochs. Unlike in torch, the threshold of a negative best is a share of its size, and drops
    smaller than 1e-8 count.

    Example:
        >>> from lrsearch.schedules import Plateau, Schedule
        >>> schedule = Schedule(Plateau(drop_factor=0.5, patience=1), base_lr=0.1)
        >>> schedule.curve(4, losses=[1.0, 1.2, 1.1, 1.3]).tolist()
        [0.1, 0.1, 0.1, 0.05]
    """

    name = "plateau"
    use_when = "you do not know how long training takes and evaluate often"
    drawback = "reacts to noise, cannot be planned, and differs from run to run"

    reads_losses = True
    drop_factor: float = parameter(0.1, Float(0.1, 0.7), above=0, at_most=1)
    patience: int = parameter(1, Int(0, 3), at_least=0)
    threshold: float = parameter(1e-4, Float(1e-4, 3e-2, log=True), at_least=0, below=1)
    cooldown: int = parameter(0, Int(0, 2), at_least=0)
    min_factor: float = parameter(0.0, Float(1e-3, 0.1, log=True), at_least=0, at_most=1)
    metric: str = parameter("val_loss")
    maximize: bool = parameter(False)

    def watches(self) -> str:
        """Return its metric."""
        return self.metric

    def __call__(self, position: Position) -> float:
        """Return the multiple after the losses so far."""
        multiple, best, bad, resting = 1.0, math.inf, 0, 0
        for value in position.losses:
            loss = -value if self.maximize else value
            if loss < best - self.threshold * (abs(best) if best < math.inf else 0):
                best, bad = loss, 0
            else:
                bad += 1
            if resting:
                resting, bad = resting - 1, 0
            if bad > self.patience:
                multiple = max(self.min_factor, multiple * self.drop_factor)
                resting, bad = self.cooldown, 0
        return multiple
