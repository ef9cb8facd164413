"""Cosine with warm restarts: cosine decay that starts over, cycle after cycle."""

import math
from dataclasses import dataclass

from lrsearch.domains import Float
from lrsearch.schedules.family import Family, Moment, completed, parameter


@dataclass(frozen=True)
class CosineRestarts(Family):
    """Cosine with warm restarts: cosine decay that starts over, cycle after cycle.

    Cycle n has length cycle_size · cycle_mult^n and peak peak_decay^n; within it the multiple is
    min_factor + (peak − min_factor) · (1 + cos πp) / 2 at progress p (never below min_factor).
    Loshchilov & Hutter 2017. With peak_decay = 1 equals torch's `CosineAnnealingWarmRestarts`
    where cycle_size · T is whole; torch's T_mult is whole and its peaks do not shrink. The last
    cycle may be cut off by the end of the run.
    """

    name = "cosine_restarts"
    use_when = "you want several good snapshots from one run, or may stop at the end of any cycle"
    drawback = "the run often ends in the middle of a cycle, at a high rate"

    cycle_size: float = parameter(0.25, Float(0.1, 0.5), above=0, at_most=1)
    cycle_mult: float = parameter(1.0, Float(1.0, 3.0), at_least=1)
    peak_decay: float = parameter(1.0, Float(0.3, 1.0), above=0, at_most=1)
    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, now: Moment) -> float:
        """Return the cosine of the cycle that x lies in."""
        cycle, progress = self._place(now.x)
        peak = max(self.peak_decay**cycle, self.min_factor)
        return self.min_factor + (peak - self.min_factor) * (1 + math.cos(math.pi * progress)) / 2

    def _place(self, x: float) -> tuple[int, float]:
        """Return the cycle's number and the progress in it, in [0, 1]."""
        growth = self.cycle_mult - 1
        if growth == 0:
            cycle = completed(x, self.cycle_size)
            start = cycle * self.cycle_size
        else:  # the first n cycles last cycle_size · (cycle_mult^n − 1) / growth
            passed = math.log1p(x / self.cycle_size * growth)
            cycle = completed(passed, math.log1p(growth))
            start = self.cycle_size * math.expm1(cycle * math.log1p(growth)) / growth
        progress = (x - start) / (self.cycle_size * self.cycle_mult**cycle)
        return cycle, min(1.0, max(0.0, progress))
