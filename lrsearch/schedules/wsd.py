"""The family `wsd`."""

import math
from dataclasses import dataclass

from lrsearch.schedules.domains import Choice, Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class WSD(Family):
    """Warmup-stable-decay: the peak for most of the run, then down to zero.

    With u the progress in the last decay_fraction of the run, the multiple is 1 before it and then
    1 − u (`linear`), (1 + cos πu) / 2 (`cosine`) or 1 − √u (`sqrt`). The warmup is the schedule's
    own `warmup`.

    Source: Hu et al. 2024 (MiniCPM); Hägele et al. 2024 for the 1 − √u cooldown.

    Example:
        >>> from lrsearch.schedules import Schedule, WSD
        >>> Schedule(WSD(decay_fraction=0.5), base_lr=1.0).curve(8).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    name = "wsd"
    use_when = "you may want to train longer later: branch off before the decay and go on"
    drawback = "until the decay begins the loss looks worse than it will be"

    decay_fraction: float = parameter(0.2, Float(0.05, 0.6), above=0, at_most=1)
    cooldown: str = parameter("linear", Choice(("linear", "cosine", "sqrt")))

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        u = max(0.0, (position.x - (1 - self.decay_fraction)) / self.decay_fraction)
        if self.cooldown == "linear":
            return 1 - u
        if self.cooldown == "cosine":
            return (1 + math.cos(math.pi * u)) / 2
        return 1 - math.sqrt(u)
