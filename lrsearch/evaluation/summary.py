"""A confirmation as sentences and as a table."""

from __future__ import annotations

import numpy as np

from lrsearch.evaluation.confirmation import Confirmation, Entry


def summarize(confirmation: Confirmation) -> list[str]:
    """Return the result of a confirmation as sentences."""
    winner, comparison = confirmation.winner, confirmation.comparison
    if winner is None or comparison is None:
        return ["No schedule trained on every seed; none can be recommended. Lower base_lr."]
    seeds = len(confirmation.seeds)
    said = []
    for index in np.argsort(comparison.difference):
        other = confirmation.compared[index]
        if other is winner:
            continue
        low, high = (
            _points(confirmation, bounds[index])
            for bounds in (comparison.difference_low, comparison.difference_high)
        )
        if not np.isfinite(comparison.difference_high[index]):
            said.append(
                f"{other.name} cannot be told apart from {winner.name}: {seeds} seeds are too few "
                "to say; confirm on more (--seeds 5)"
            )
        elif comparison.indistinguishable[index] and comparison.outlier[index]:
            said.append(f"{other.name} cannot be told apart from {winner.name}: it varies too much")
        elif comparison.indistinguishable[index]:
            said.append(
                f"{other.name} cannot be told apart from {winner.name} (at most {high} behind)"
            )
        else:
            behind = _points(confirmation, comparison.difference[index])
            said.append(
                f"{winner.name} beats {other.name} by {behind} "
                f"(95 % CI {low} to {high}, {seeds} seeds)"
            )
    for entry, outlier in zip(confirmation.compared, comparison.outlier, strict=True):
        if outlier:
            worst, best = min(entry.values.values()), max(entry.values.values())
            said.append(
                f"{entry.name} varies far more between seeds than the others: "
                f"{worst:.4f} to {best:.4f}"
            )
    for entry in confirmation.entries:
        if entry.infeasible:
            said.append(f"{entry.name} {entry.infeasible}")
    if (bias := selection_bias(winner)) is not None:
        rosy = bias if confirmation.maximize else -bias
        fresh = np.mean(list(winner.validation.values()))
        said.append(
            f"the search {'over' if rosy > 0 else 'under'}estimated {winner.name} by "
            f"{_points(confirmation, abs(bias))}: {winner.searched:.4f} there, {fresh:.4f} on "
            f"{seeds} fresh seeds, both on the validation data"
        )
    return said


def confirmed_rows(confirmation: Confirmation) -> list[list[str]]:
    """Return a row for each entry, the best first.

    Columns: name, base_lr, mean ± half its 95 % interval, standard deviation, how far it lies
    behind the best on the same seeds ± half the interval of that; infeasible ones last. An
    interval that the seeds are too few for is left out.
    """
    rows = []
    if c := confirmation.comparison:
        for index in np.argsort(c.difference):
            entry = confirmation.compared[index]
            alone = c.high[index] - c.mean[index]
            mean, deviation = _interval(c.mean[index], alone), f"{c.deviation[index]:.4f}"
            width = c.difference_high[index] - c.difference[index]
            behind = _interval(c.difference[index], np.inf if c.outlier[index] else width)
            last = "the best" if entry is confirmation.winner else behind
            rows.append([entry.name, f"{entry.schedule.base_lr:.4g}", mean, deviation, last])
    for entry in confirmation.entries:
        if entry.infeasible:
            rate = f"{entry.schedule.base_lr:.4g}"
            rows.append([entry.name, rate, entry.infeasible, "", ""])
    return rows


def selection_bias(entry: Entry) -> float | None:
    """Return how far the search's value lies above the mean on fresh seeds and the same data."""
    if entry.searched is None or not entry.validation:
        return None
    return entry.searched - float(np.mean(list(entry.validation.values())))


def _interval(value: float, half: float) -> str:
    """Return a value with half its interval, if there is one."""
    return f"{value:.4f} ± {half:.4f}" if np.isfinite(half) else f"{value:.4f}"


def _points(confirmation: Confirmation, value: float) -> str:
    """Return a difference in percentage points where the metric is an accuracy."""
    if "accuracy" in confirmation.metric:
        return f"{100 * value:.2f} pp"
    return f"{value:.4g}"
