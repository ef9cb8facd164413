"""Noam: linear rise, then inverse square-root decay, meeting at the peak."""

from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, parameter


@dataclass(frozen=True)
class Noam(Family):
    """Noam: linear rise, then inverse square-root decay, meeting at the peak.

    multiple = min((t + 1) / W, (W / (t + 1))^½) with W = warmup_fraction · T updates.
    Vaswani et al. 2017, "Attention is all you need", section 5.3, scaled to peak at 1.
    """

    name = "noam"
    use_when = "you train a transformer with Adam and want the paper's recipe"
    drawback = "the rise and the decay share one number, so neither can be tuned alone"

    own_rise = True
    warmup_fraction: float = parameter(0.1, Float(0.01, 0.3, log=True), above=0, at_most=1)

    def __call__(self, now: Moment) -> float:
        """Return the lower of the rise and the decay; a rise shorter than an update is skipped."""
        updates = max(1.0, self.warmup_fraction * now.total_steps)
        progress = (now.step + 1) / updates
        return float(min(progress, progress**-0.5))
