"""The family `noam`."""

from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, parameter


@dataclass(frozen=True)
class Noam(Family):
    """Noam: linear rise, then inverse square-root decay, meeting at the peak.

    multiple = min((t + 1) / W, (W / (t + 1))^½), with W = warmup_fraction · T updates

    A rise shorter than one update is left out. Source: Vaswani et al. 2017, "Attention is all you
    need", section 5.3, scaled to peak at 1.

    Example:
        >>> from lrsearch.schedules import Noam, Schedule
        >>> Schedule(Noam(warmup_fraction=0.25), base_lr=1.0).curve(8).round(3).tolist()
        [0.5, 1.0, 0.816, 0.707, 0.632, 0.577, 0.535, 0.5]
    """

    name = "noam"
    use_when = "you train a transformer with Adam and want the paper's recipe"
    drawback = "the rise and the decay share one number, so neither can be tuned alone"

    has_own_warmup = True
    warmup_fraction: float = parameter(0.1, Float(0.01, 0.3, log=True), above=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        updates = max(1.0, self.warmup_fraction * position.total_steps)
        progress = (position.step + 1) / updates
        return float(min(progress, progress**-0.5))
