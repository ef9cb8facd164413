"""Reduce on plateau: the rate drops when the validation loss stops improving."""

import math
from dataclasses import dataclass

from lrsearch.domains import Float, Int
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class Plateau(Family):
    """Reduce on plateau: the rate drops when the validation loss stops improving.

    The rule of torch's `ReduceLROnPlateau(factor=drop_factor, threshold_mode="rel")`, as a pure
    function of the losses of the evaluations so far: a loss that is not below the best by the share
    `threshold` (NaN is not) is bad; after more than `patience` bad ones in a row the multiple is
    cut to drop_factor of itself (at least min_factor), and the next `cooldown` are not counted.
    `patience` and `cooldown` count evaluations, of which a run of any length has as many as the
    full run has epochs. Unlike torch's, an improvement on a negative best is one of that share of
    its size, and drops smaller than 1e-8 count.
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

    def __call__(self, now: Moment) -> float:
        """Return the multiple after the losses so far."""
        multiple, best, bad, resting = 1.0, math.inf, 0, 0
        for loss in now.losses:
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
