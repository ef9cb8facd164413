"""Several range tests together: what each rule picks, the spread, the domain to search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch import displays
from lrsearch.diagnosis.range_test import RangeTest, range_test
from lrsearch.diagnosis.rules import RULES, LossCurve, edge, smooth, steepest
from lrsearch.errors import TaskError
from lrsearch.tasks import Supervised

SEEDS = 3
"""How many range tests there are: one alone depends on its first batches."""

MIN_RELATIVE_FALL = 1e-3
"""A loss that nowhere falls by this share of the first has learned nothing."""


@dataclass(frozen=True)
class Pick:
    """A rule's rates over the seeds: median, lowest, highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """What the finder suggests.

    `suggested` is the domain of `base_lr` to search: from a tenth of the steepest rate to the edge
    of divergence, by the medians over the seeds. `notes` say what a reader should know.
    """

    tests: tuple[RangeTest, ...]
    picks: dict[str, Pick]
    suggested: tuple[float, float]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return `{"picks": {rule: {"median", "low", "high"}}, "suggested": {"low", "high"}}`."""
        low, high = self.suggested
        return {
            "picks": {rule: vars(pick) for rule, pick in self.picks.items()},
            "suggested": {"low": low, "high": high},
        }

    def _repr_html_(self) -> str:
        low, high = self.suggested
        rows = [(rule, pick.median, pick.low, pick.high) for rule, pick in self.picks.items()]
        caption = f"search base_lr from {low:.2g} to {high:.2g}. {' '.join(self.notes)}"
        return displays.table(("rule", "rate", "lowest", "highest"), rows, caption)


def find_lr(task: Supervised, *, seed: int = 0, device: str = "cpu", seeds: int = SEEDS) -> Finding:
    """Run the range test over a few seeds, apply every rule, suggest a domain of `base_lr`.

    Args:
        task: what is trained.
        seed: the first seed; the others follow it.
        device: a torch device.
        seeds: how many tests.

    Raises:
        TaskError: if the first loss is not finite, or no test shows a loss that falls.
    """
    tests = tuple(range_test(task, seed=seed + index, device=device) for index in range(seeds))
    curves = [smooth(test.lrs, test.losses) for test in tests]
    if not any(_falls(curve) for curve in curves):
        raise TaskError(
            "the loss falls at no rate of the range test: the network does not learn from this "
            "data; check the loss and the data before the rate"
        )
    picks = {}
    for name, rule in RULES.items():
        rates = 10 ** np.array([rule(curve) for curve in curves])
        picks[name] = Pick(float(np.median(rates)), float(rates.min()), float(rates.max()))
    low = 10 ** float(np.median([steepest(curve) for curve in curves]) - 1)
    high = 10 ** float(np.median([edge(curve) for curve in curves]))
    return Finding(tests, picks, (low, high), tuple(_notes(task, tests)))


def _falls(curve: LossCurve) -> bool:
    first = float(curve.losses[0])
    return first - float(curve.losses.min()) > MIN_RELATIVE_FALL * abs(first)


def _notes(task: Supervised, tests: tuple[RangeTest, ...]) -> list[str]:
    notes = []
    if any(test.ended == "the highest rate" for test in tests):
        notes.append(
            f"the loss did not blow up up to {tests[0].lrs[-1]:.3g}: the upper end is the last "
            "rate tested, not an edge of divergence"
        )
    longest, run = max(len(test.lrs) for test in tests), task.epochs * task.steps_per_epoch
    if longest > run:
        notes.append(f"a test took {longest} updates, more than the full run's {run}")
    return notes
