"""The family `cosine_restarts`."""

import math
from dataclasses import dataclass

from lrsearch.schedules.domains import Float
from lrsearch.schedules.family import Family, Position, completed, parameter


@dataclass(frozen=True)
class CosineRestarts(Family):
    """Cosine with warm restarts: cosine decay that starts over, cycle after cycle.

    multiple = min_factor + (peak − min_factor) · (1 + cos πp) / 2

    Here p is the progress in cycle n, whose length is cycle_size · cycle_mult^n and whose peak is
    peak_decay^n (never below min_factor). The end of the run may cut off the last cycle, also the
    first: a cycle may be longer than the run.

    Source: Loshchilov & Hutter 2017 (SGDR). With peak_decay = 1 equals torch's
    `CosineAnnealingWarmRestarts` where cycle_size · T is whole; torch's T_mult is whole and its
    peaks do not shrink.

    Example:
        >>> from lrsearch.schedules import CosineRestarts, Schedule
        >>> schedule = Schedule(CosineRestarts(cycle_size=0.5, peak_decay=0.5), base_lr=1.0)
        >>> schedule.curve(8).round(3).tolist()
        [1.0, 0.854, 0.5, 0.146, 0.5, 0.427, 0.25, 0.073]
    """

    name = "cosine_restarts"
    use_when = "you want several good snapshots from one run, or may stop at the end of any cycle"
    drawback = "the run often ends in the middle of a cycle, at a high rate"

    cycle_size: float = parameter(0.25, Float(0.1, 0.5), above=0)
    cycle_mult: float = parameter(1.0, Float(1.0, 3.0), at_least=1)
    peak_decay: float = parameter(1.0, Float(0.3, 1.0), above=0, at_most=1)
    min_factor: float = parameter(0.0, Float(1e-3, 0.3, log=True), at_least=0, at_most=1)

    def __call__(self, position: Position) -> float:
        """Return the multiple."""
        cycle, progress = self._place(position.x)
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
