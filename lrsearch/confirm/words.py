"""A confirmation in words."""

from __future__ import annotations

import numpy as np

from lrsearch.confirm.confirmation import Confirmation, Entry


def in_words(found: Confirmation) -> list[str]:
    """Return what a confirmation found as sentences."""
    if found.winner is None or found.comparison is None:
        return ["Every schedule diverged on a seed; none can be recommended. Lower base_lr."]
    winner, seeds = found.winner, len(found.seeds)
    said = []
    for index in np.argsort(found.comparison.difference):
        other = found.compared[index]
        if other is winner:
            continue
        low, high = (
            _points(found, bounds[index])
            for bounds in (found.comparison.difference_low, found.comparison.difference_high)
        )
        if found.comparison.indistinguishable[index]:
            said.append(
                f"{other.name} cannot be told apart from {winner.name} (at most {high} behind)"
            )
        else:
            behind = _points(found, found.comparison.difference[index])
            said.append(
                f"{winner.name} beats {other.name} by {behind} "
                f"(95 % CI {low} to {high}, {seeds} seeds)"
            )
    for entry, wild in zip(found.compared, found.comparison.wild, strict=True):
        if wild:
            worst, best = min(entry.values.values()), max(entry.values.values())
            said.append(
                f"{entry.name} varies far more between seeds than the others: "
                f"{worst:.4f} to {best:.4f}"
            )
    for entry in found.entries:
        if entry.diverged:
            said.append(f"{entry.name} diverged on {len(entry.diverged)} of {seeds} seeds")
    if (flattered := flattery(winner)) is not None:
        sign = 1 if found.maximize else -1
        said.append(
            f"the search had flattered {winner.name} by {_points(found, sign * flattered)}: "
            f"{winner.searched:.4f} there, {np.mean(list(winner.validation.values())):.4f} on "
            f"{seeds} fresh seeds, both on the validation data"
        )
    return said


def confirmed_rows(found: Confirmation) -> list[list[str]]:
    """Return a row for each entry, the best first.

    Columns: name, base_lr, mean ± half its 95 % interval, standard deviation, how far it lies
    behind the best on the same seeds ± half the interval of that; those that diverged last.
    """
    rows = []
    if found.comparison is not None:
        c = found.comparison
        for index in np.argsort(c.difference):
            entry = found.compared[index]
            alone = c.high[index] - c.mean[index]
            behind = c.difference_high[index] - c.difference[index]
            rows.append(
                [
                    entry.name,
                    f"{entry.schedule.base_lr:.4g}",
                    f"{c.mean[index]:.4f} ± {alone:.4f}",
                    f"{c.deviation[index]:.4f}",
                    "the best"
                    if entry is found.winner
                    else f"{c.difference[index]:.4f} ± {behind:.4f}",
                ]
            )
    for entry in found.entries:
        if entry.diverged:
            ran = f"diverged on {len(entry.diverged)} of {len(found.seeds)}"
            rows.append([entry.name, f"{entry.schedule.base_lr:.4g}", ran, "", ""])
    return rows


def flattery(entry: Entry) -> float | None:
    """Return how far the search's value lies above the mean on fresh seeds and the same data."""
    if entry.searched is None or not entry.validation:
        return None
    return entry.searched - float(np.mean(list(entry.validation.values())))


def _points(found: Confirmation, value: float) -> str:
    """Return a difference in percentage points where the metric is an accuracy."""
    if "accuracy" in found.metric:
        return f"{100 * value:.2f} pp"
    return f"{value:.4g}"
