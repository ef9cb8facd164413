"""A schedule's curve for a picture: few points, and no peak, corner or jump lost among them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

GRID = 1000
"""Updates that are looked at first; a peak or a jump between two of them is sought."""
TOLERANCE = 0.002
"""How far the drawn line may lie from the curve, as a share of the highest rate."""


def sketched(rate: Callable[[int], float], total_steps: int) -> tuple[list[int], list[float]]:
    """Return updates and rates between which straight lines are the curve, as far as one sees.

    Args:
        rate: the learning rate of an update.
        total_steps: the updates of the run, at least 1.

    Example:
        >>> sketched(lambda step: 0.1 if step < 5000 else 0.01, 10_000)
        ([0, 4999, 5000, 9999], [0.1, 0.1, 0.01, 0.01])
    """
    steps = np.unique(np.linspace(0, total_steps - 1, min(total_steps, GRID)).round().astype(int))
    known = {int(step): rate(int(step)) for step in steps}
    if total_steps > GRID:
        _add_jumps(known, rate)
        _add_peaks(known, rate)
    x = np.array(sorted(known))
    y = np.array([known[int(step)] for step in x])
    kept = _corners(x, y, TOLERANCE * float(np.abs(y).max()))
    return x[kept].tolist(), y[kept].tolist()


def _add_jumps(known: dict[int, float], rate: Callable[[int], float]) -> None:
    """Add both sides of every jump between two updates that are known."""
    visible = TOLERANCE * max(known.values())
    for low, high in list(pairwise(sorted(known))):
        if abs(known[high] - known[low]) <= visible:
            continue
        while high - low > 1:  # towards the half with more of the change
            middle = (low + high) // 2
            known[middle] = rate(middle)
            first = abs(known[middle] - known[low]) > abs(known[high] - known[middle])
            low, high = (low, middle) if first else (middle, high)


def _add_peaks(known: dict[int, float], rate: Callable[[int], float]) -> None:
    """Add the update at which the curve turns, wherever it does between updates that are known."""
    steps = sorted(known)
    for low, middle, high in zip(steps, steps[1:], steps[2:], strict=False):
        rise, fall = known[middle] - known[low], known[high] - known[middle]
        if rise * fall >= 0:
            continue
        while high - low > 1:
            at = (low + high) // 2
            known[at], known[at + 1] = rate(at), rate(at + 1)
            low, high = (at, high) if (known[at + 1] - known[at]) * rise > 0 else (low, at)


def _corners(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Return which points to keep (Ramer 1972; Douglas & Peucker 1973), by vertical distance."""
    kept = np.zeros(len(x), dtype=bool)
    kept[[0, -1]] = True
    spans = [(0, len(x) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = np.interp(x[inner], x[[first, last]], y[[first, last]])
        distance = np.abs(y[inner] - line)
        at = int(distance.argmax())
        if distance[at] > tolerance:
            kept[first + 1 + at] = True
            spans += [(first, first + 1 + at), (first + 1 + at, last)]
    return kept
