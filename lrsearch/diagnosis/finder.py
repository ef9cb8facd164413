"""Several range tests together: what each rule picks, the spread, the domain to search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch import displays
from lrsearch.diagnosis.plateau import Start, learn
from lrsearch.diagnosis.range_test import HIGHEST, RangeTest, range_test
from lrsearch.diagnosis.rules import RULES, LossCurve, edge, moves, smooth
from lrsearch.errors import TaskError
from lrsearch.tasks import Supervised, Task

COARSE, FINE = 20, 50
"""Updates in which the rate grows tenfold: in the first test, which only looks where the loss
moves, and in those after it, which look there."""
COARSE_EPOCHS, FINE_EPOCHS = 6, 12
"""The same in epochs, of a task that only says how an epoch ended."""
TESTS = 3
"""How many fine tests there are: one alone depends on its weights and its batches."""
BUDGET = 700
"""Of networks that have learned no further one is tested once so many updates are spent."""
BELOW, ABOVE = 3.0, 30.0
"""A fine test of a network that has learned runs from this part of the rate at which it did to this
multiple of it at most."""
ABOVE_EDGE = 2.0
"""The domain ends where networks that have learned blow up; where fresh ones were tested, at this
multiple of the edge: such a test is too short at any rate to see it exactly."""
DECADES = 1.7
"""How wide the domain is: where its lower end lies the tests tell less well than its upper one."""
MIN_RELATIVE_FALL = 1e-3
"""A loss that nowhere falls by this share of the first has learned nothing."""
ON_PLATEAU = 0.1
"""Where the coarse test's loss nowhere falls by this share of the first, it has not left its first
plateau: such a test says when the network wakes up, not at which rates it trains."""
MULTIPLES, WAKING_MULTIPLES = (1.0, 0.25, 4.0), (0.5, 4.0, 0.125)
"""Rates at which a network is tried to learn, in turn: of the middle of where the coarse test saw
the loss move, or of the rate at which it woke up, which may be far too low."""


@dataclass(frozen=True)
class Pick:
    """A rule's rates over the seeds: median, lowest, highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """What the finder suggests.

    `suggested` is the domain of `base_lr` to search, `DECADES` wide, up to where the loss blows up:
    the geometric mean of what the tests saw.
    `updates` is what it cost, the coarse test included. `notes` say what a reader should know.
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

    The first test runs over nine decades, in few updates each, and tells about where a network
    trains. For each of the others, of a seed of its own, a network is trained at such a rate until
    half of its loss is gone (`learn`), and tested around that: what a network of fresh weights
    shows depends far more on them. Where it learns at no such rate, fresh ones are tested.
    A `Supervised` task is watched update by update; of any other task, which only says how an epoch
    ended, whole epochs are trained, and it costs more.

    Args:
        task: what is trained; it must give a "train_loss" or "val_loss".
        seed: the first seed; the others follow it.
        device: a torch device.

    Raises:
        TaskError: if the first loss is not finite, there is none, or no test shows one that falls.
    """
    coarse_points = COARSE if isinstance(task, Supervised) else COARSE_EPOCHS
    coarse = range_test(task, seed=seed, device=device, per_decade=coarse_points)
    curve = smooth(coarse.lrs, coarse.losses)
    on_plateau = not _falls(curve, ON_PLATEAU)
    start: Start | None = None
    if isinstance(task, Supervised):
        likely = edge(curve) if on_plateau else (moves(curve) + edge(curve)) / 2
        multiples = WAKING_MULTIPLES if on_plateau else MULTIPLES
        rates = [multiple * 10**likely for multiple in multiples]
        start = learn(task, rates, seed=seed, device=device)
    spent = coarse.updates + (start.updates if start else 0)
    if isinstance(task, Supervised) and start and start.state:
        tests, spent = _of_learned(task, start, spent, seed, device)
        highest = [float(test.lrs[-1]) for test in tests]
    elif _falls(curve, MIN_RELATIVE_FALL):
        tests = _of_fresh(task, curve, seed, device)
        spent += sum(test.updates for test in tests)
        highest = [ABOVE_EDGE * 10 ** edge(smooth(test.lrs, test.losses)) for test in tests]
    else:
        raise TaskError(
            "the loss falls at no rate of the range test: the network does not learn from this "
            "data; check the loss and the data before the rate"
        )
    curves = [smooth(test.lrs, test.losses) for test in tests]
    picks = {}
    for name, rule in RULES.items():
        picked = 10 ** np.array([rule(curve) for curve in curves])
        picks[name] = Pick(float(np.median(picked)), float(picked.min()), float(picked.max()))
    high = float(np.exp(np.mean(np.log(highest))))
    notes = _notes(tests, start if on_plateau or (start and start.state is None) else None)
    return Finding(tuple(tests), picks, (high / 10**DECADES, high), spent, tuple(notes))


def _of_learned(
    task: Supervised, start: Start, spent: int, seed: int, device: str
) -> tuple[list[RangeTest], int]:
    """Test networks that have learned, each of another seed; return also all updates spent."""
    tests: list[RangeTest] = []
    learned = start
    for number in range(seed, seed + TESTS):
        if number > seed:
            if spent >= BUDGET:
                break
            learned = learn(task, [start.rate], seed=number, device=device)
            spent += learned.updates
        if learned.state is not None:
            test = range_test(
                task, seed=number, device=device, lowest=start.rate / BELOW,
                highest=start.rate * ABOVE, per_decade=FINE, state=learned.state,
            )  # fmt: skip
            tests.append(test)
            spent += test.updates
    return tests, spent


def _of_fresh(task: Task, curve: LossCurve, seed: int, device: str) -> list[RangeTest]:
    """Test networks of fresh weights where the coarse test saw the loss move."""
    return [
        range_test(
            task,
            seed=number,
            device=device,
            lowest=10 ** (moves(curve) - 0.5),
            highest=min(HIGHEST, 10 ** (edge(curve) + 0.5)),
            per_decade=FINE if isinstance(task, Supervised) else FINE_EPOCHS,
        )
        for number in range(seed, seed + TESTS)
    ]


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
            f"the loss hardly moved at first; the tests begin after {start.updates} updates, "
            f"the last at {start.rate:.2g}, when half of it is gone"
        )
    if any(test.ended == "the highest rate" for test in tests):
        notes.append(
            f"the loss did not blow up up to {tests[0].lrs[-1]:.3g}: the upper end is the last "
            "rate tested, or where it rose again, not an edge of divergence"
        )
    return notes
