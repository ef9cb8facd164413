"""A warmup watched as it trains: where the loss or the gradient jumps in it, it gets longer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from lrsearch.schedules import Clock, Schedule
from lrsearch.tasks.learning import rises

LOSS_RISE = 0.2
"""A loss that lies by more than this above the lowest so far (`rises`) has jumped. Less than what
makes a run unstable (`JUMP`): it is to be seen before."""
NORM_RISE = 4.0
"""A gradient whose norm is more than so many times the usual has jumped, if the loss is not below
the usual one: where a network leaves its first plateau the gradient grows too, and the loss falls.
"""
USUAL = 50
"""The usual is the median of so many updates before, and of at least FEWEST."""
FEWEST = 5
LONGEST = 0.5
"""A warmup is doubled as long as it stays within this part of the run."""


class Watch:
    """Lengthens the warmup of a run as it trains, if the schedule says so (`Warmup.adjust`).

    At a jump of the loss or of the gradient's norm within the warmup, it becomes twice as long:
    from the next update on (the next part, where the rate changes once an epoch) the rate is that
    of a warmup of such a length, so it falls and then rises half as fast. A jump is over with the
    first update that shows none; only then another counts. The schedule that comes out is a pure
    one again: training it from the same seed gives the same numbers.

    Args:
        schedule: as it was asked for; one that is not to be adjusted is left as it is.
        clock: of the run.
        baseline: the loss that a run must beat to have learned; the first, if unknown.
    """

    def __init__(self, schedule: Schedule, clock: Clock, baseline: float | None) -> None:
        self._clock = clock
        self._baseline = baseline
        self._lowest = math.inf
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._jumped = False
        warmup = schedule.warmup
        self._warmup = replace(warmup, doubled_at=()) if warmup and warmup.adjust else None
        self._schedule = schedule

    @property
    def over(self) -> bool:
        """Whether the warmup is over, or there is none to adjust."""
        return self._warmup is None or not self._warmup.adjust

    @property
    def trained(self) -> Schedule:
        """The schedule that the run has followed so far, and follows unless there is a jump."""
        return self._with(adjust=False)

    @property
    def known(self) -> Schedule | None:
        """What the schedule has come to by now, still to be adjusted unless the warmup is over.

        `None` of a schedule that is not to be adjusted.
        """
        return None if self._warmup is None else self._with(adjust=not self.over)

    def update(self, done: int, loss: float, norm: float) -> None:
        """Hear of the last update, of so many done: its batch's loss and its gradient's norm."""
        if self.over:
            return
        assert self._warmup is not None
        coming = self._clock.time(done - 1) + 1
        jumped = self._jumps(loss, norm)
        if jumped and not self._jumped:
            self._double(coming)
        self._jumped = jumped
        if self._clock.time(done) >= self._warmup.length(self._clock.length) - 1e-9:
            self.settle()

    def settle(self) -> None:
        """Hear that the warmup is over, or the run: what has come out stays."""
        if self._warmup is not None:
            self._warmup = replace(self._warmup, adjust=False)

    def _jumps(self, loss: float, norm: float) -> bool:
        """Return whether an update shows a jump, and remember it."""
        if self._baseline is None:
            self._baseline = loss
        usual = len(self._losses) >= FEWEST
        jumps = bool(rises(np.array([loss]), self._baseline, self._lowest)[0] > LOSS_RISE) or (
            usual and norm > NORM_RISE * median(self._norms) and loss > median(self._losses)
        )
        self._lowest = min(self._lowest, loss)
        self._losses = [*self._losses, loss][-USUAL:]
        self._norms = [*self._norms, norm][-USUAL:]
        return jumps

    def _double(self, coming: int) -> None:
        """Make the warmup twice as long from a time on, if that is in it, and short enough."""
        assert self._warmup is not None
        whole = self._clock.length
        length = self._warmup.length(whole)
        point = coming / whole
        known = self._warmup.doubled_at
        if coming < length and 2 * length <= LONGEST * whole and (not known or point > known[-1]):
            self._warmup = replace(self._warmup, doubled_at=(*known, point))

    def _with(self, *, adjust: bool) -> Schedule:
        if self._warmup is None:
            return self._schedule
        return replace(self._schedule, warmup=replace(self._warmup, adjust=adjust))

    def state_dict(self) -> dict[str, Any]:
        """Return what it knows, to go on from there; nothing if there is nothing to adjust."""
        if self._warmup is None:
            return {}
        return {
            "doubled_at": list(self._warmup.doubled_at),
            "over": self.over,
            "lowest": self._lowest,
            "losses": list(self._losses),
            "norms": list(self._norms),
            "jumped": self._jumped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, in a run of the same schedule."""
        assert self._warmup is not None
        self._warmup = replace(
            self._warmup, doubled_at=tuple(state["doubled_at"]), adjust=not state["over"]
        )
        self._lowest = state["lowest"]
        self._losses, self._norms = list(state["losses"]), list(state["norms"])
        self._jumped = state["jumped"]
