"""Several range tests together: what each rule picks, the spread, the domain to search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch import displays
from lrsearch.diagnosis.plateau import Start, leave_plateau
from lrsearch.diagnosis.range_test import HIGHEST, RangeTest, range_test
from lrsearch.diagnosis.rules import RULES, LossCurve, edge, moves, smooth
from lrsearch.errors import TaskError
from lrsearch.tasks import Supervised, Task

COARSE, FINE = 20, 50
"""Updates in which the rate grows tenfold: in the first test, which only looks where the loss
moves, and in those after it, which look there."""
COARSE_EPOCHS, FINE_EPOCHS = 6, 12
"""The same in epochs, of a task that only says how an epoch ended."""
MIN_TESTS, MAX_TESTS = 2, 3
"""How many fine tests there are: one alone depends on its first batches."""
AGREEMENT = 0.1
"""Where the edges of the fine tests lie within so many decades, no further test is made."""
BELOW_STEEPEST, ABOVE_EDGE = 5.0, 2.0
"""The domain begins at this part of the steepest rate, if it is then one to two decades wide, and
ends at this multiple of the edge: a test stays too short at any rate to see the edge exactly."""
MIN_DECADES, MAX_DECADES = 1.0, 2.0
MIN_RELATIVE_FALL = 1e-3
"""A loss that nowhere falls by this share of the first has learned nothing."""
ON_PLATEAU = 0.1
"""Where the coarse test's loss nowhere falls by this share of the first, it has not left its first
plateau: such a test says when the network wakes up, not at which rates it trains."""
AROUND, FINER = 10.0, 75
"""Once it has left it, the fine tests run from this part of the rate at which it did to this
multiple of it, in so many updates for each decade: in a quick test such a network is lost at a
lower rate than in a slow one."""


@dataclass(frozen=True)
class Pick:
    """A rule's rates over the seeds: median, lowest, highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """What the finder suggests.

    `suggested` is the domain of `base_lr` to search, one to two decades wide: up to twice the edge
    of divergence, from a fifth of the steepest rate on, by the medians over the seeds. `updates` is
    what it cost, the coarse test included. `notes` say what a reader should know.
    """

    tests: tuple[RangeTest, ...]
    picks: dict[str, Pick]
    suggested: tuple[float, float]
    updates: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the picks by rule, the suggested domain and the cost as plain JSON.

        `{"picks": {rule: {"median", "low", "high"}}, "suggested": {"low", "high"}, "updates"}`.
        """
        low, high = self.suggested
        return {
            "picks": {rule: vars(pick) for rule, pick in self.picks.items()},
            "suggested": {"low": low, "high": high},
            "updates": self.updates,
        }

    def _repr_html_(self) -> str:
        low, high = self.suggested
        rows = [(rule, pick.median, pick.low, pick.high) for rule, pick in self.picks.items()]
        caption = f"search base_lr from {low:.2g} to {high:.2g}. {' '.join(self.notes)}"
        return displays.table(("rule", "rate", "lowest", "highest"), rows, caption)


def find_lr(task: Task, *, seed: int = 0, device: str = "cpu") -> Finding:
    """Look where the loss moves, test there with a few seeds, suggest a domain of `base_lr`.

    The first test runs over nine decades, in few updates each. The others begin half a decade
    below where it saw the loss move and end beyond where it saw it rise; there are as many as their
    edges ask for (`AGREEMENT`). Where the first test never leaves the loss's first plateau, all is
    done from a network that was trained at a constant rate until its loss fell (`leave_plateau`).
    A `Supervised` task is watched update by update; of any other task, which only says how an epoch
    ended, whole epochs are trained, and it costs more.

    Args:
        task: what is trained; it must give a "train_loss" or "val_loss".
        seed: the first seed; the others follow it.
        device: a torch device.

    Raises:
        TaskError: if the first loss is not finite, there is none, or no test shows one that falls.
    """
    by_update = isinstance(task, Supervised)
    coarse_points, fine_points = (COARSE, FINE) if by_update else (COARSE_EPOCHS, FINE_EPOCHS)
    coarse = range_test(task, seed=seed, device=device, per_decade=coarse_points)
    curve, updates = smooth(coarse.lrs, coarse.losses), coarse.updates
    start: Start | None = None
    if isinstance(task, Supervised) and not _falls(curve, ON_PLATEAU):
        start = leave_plateau(task, 10 ** edge(curve), seed=seed, device=device)
        updates += start.updates
    state = start.state if start else None
    if start and state:
        lowest, highest, fine_points = start.rate / AROUND, start.rate * AROUND, FINER
    elif _falls(curve, MIN_RELATIVE_FALL):
        lowest, highest = 10 ** (moves(curve) - 0.5), min(HIGHEST, 10 ** (edge(curve) + 0.5))
    else:
        raise TaskError(
            "the loss falls at no rate of the range test: the network does not learn from this "
            "data; check the loss and the data before the rate"
        )
    tests: list[RangeTest] = []
    curves: list[LossCurve] = []
    edges: list[float] = []
    while len(tests) < MIN_TESTS or (len(tests) < MAX_TESTS and np.ptp(edges) > AGREEMENT):
        test = range_test(
            task, seed=seed + len(tests), device=device,
            lowest=lowest, highest=highest, per_decade=fine_points,
            state=state,
        )  # fmt: skip
        tests.append(test)
        curves.append(smooth(test.lrs, test.losses))
        edges.append(edge(curves[-1]))
    picks = {}
    for name, rule in RULES.items():
        rates = 10 ** np.array([rule(curve) for curve in curves])
        picks[name] = Pick(float(np.median(rates)), float(rates.min()), float(rates.max()))
    high = ABOVE_EDGE * 10 ** float(np.median(edges))
    low = picks["steepest"].median / BELOW_STEEPEST
    low = min(max(low, high / 10**MAX_DECADES), high / 10**MIN_DECADES)
    updates += sum(test.updates for test in tests)
    return Finding(tuple(tests), picks, (low, high), updates, tuple(_notes(tests, start)))


def _falls(curve: LossCurve, share: float) -> bool:
    """Return whether the loss falls somewhere by a share of the first."""
    first = float(curve.losses[0])
    return first - float(curve.losses.min()) > share * abs(first)


def _notes(tests: Sequence[RangeTest], start: Start | None) -> list[str]:
    if start and start.state is None:
        return [
            f"the loss hardly moved, nor did it in {start.updates} updates at three "
            "constant rates: what is suggested may be a guess; weights that start "
            "otherwise may help"
        ]
    notes = []
    if start:
        notes.append(
            "the loss hardly moved at first, so the tests begin after "
            f"{start.updates} updates, the last at {start.rate:.2g}, when it had begun to fall"
        )
    if any(test.ended == "the highest rate" for test in tests):
        notes.append(
            f"the loss did not blow up up to {tests[0].lrs[-1]:.3g}: the upper end is the last "
            "rate tested, or where it rose again, not an edge of divergence"
        )
    return notes
