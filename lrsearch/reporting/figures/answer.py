"""The answer in one picture: the winner's curve, and how it stands beside what it beat."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.style import LOOKS, empty, figure, note, plain, rounded
from lrsearch.search import SeedModel

_TITLE = "The answer"
_ROWS = 6
"""Schedules beside the winner that are shown at most."""


class _Row(NamedTuple):
    """A schedule: its name and family, its seeds' values, their mean and half its interval."""

    name: str
    family: str
    values: Sequence[float]
    mean: float
    half: float | None


def answer(data: StudyData) -> Figure:
    """Draw the winner's learning rate, and below its mean and interval beside the others'.

    The others are those that it was confirmed against; before a confirmation, the best of each
    family in the search.
    """
    if data.answer is None:
        return empty(_TITLE, "no trial is complete yet")
    winner = data.answer.trial
    metric, rows = _confirmed(data) or _searched(data)
    drawn = make_subplots(
        2, 1, vertical_spacing=0.25, row_heights=[0.5, 0.5],
        figure=figure(f"{_TITLE}: {winner.family}, base_lr {winner.base_lr:.4g}", height=480,
                      showlegend=False),
    )  # fmt: skip
    steps, rates = winner.curve()
    color = LOOKS[winner.family].color
    drawn.add_trace(
        Scatter(
            x=[round(step / max(1, steps[-1]), 4) for step in steps],
            y=rounded(rates),
            mode="lines",
            line={"color": color, "width": 3},
            fill="tozeroy",
            hovertemplate="lr %{y:.4g} at %{x:.0%}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    for row in rows[::-1]:
        _add(drawn, row)
    drawn.update_xaxes(title_text="of the run", tickformat=".0%", range=[0, 1], row=1)
    drawn.update_yaxes(title_text="learning rate", rangemode="tozero", row=1)
    drawn.update_xaxes(title_text=plain(metric), row=2)
    drawn.update_yaxes(type="category", row=2)
    _zoom(drawn, rows)
    note(drawn, plain(data.answer.summary))
    return drawn


def _confirmed(data: StudyData) -> tuple[str, list[_Row]] | None:
    """Return the test metric and the confirmed schedules, the best first."""
    found = data.confirmation
    if found is None or found.comparison is None:
        return None
    comparison = found.comparison
    rows = []
    for index in comparison.difference.argsort()[: _ROWS + 1]:
        entry, half = found.compared[index], comparison.high[index] - comparison.mean[index]
        rows.append(
            _Row(
                entry.name,
                entry.schedule.family.name,
                list(entry.values.values()),
                float(comparison.mean[index]),
                float(half) if half < float("inf") else None,
            )
        )
    return found.metric, rows


def _searched(data: StudyData) -> tuple[str, list[_Row]]:
    """Return the search's metric and the best trial of each family, the best first.

    While no trial is trained in full that is the one that came furthest, alone.
    """
    if data.answer and not data.answer.seeds:
        trial, value = data.answer.trial, data.answer.value
        return data.metric, [
            _Row(f"{trial.family} #{trial.number}", trial.family, [value], value, None)
        ]
    model = SeedModel([trial.full_values for trial in data.ranked])
    best_of = {trial.family: trial for trial in reversed(data.ranked)}
    rows = []
    for family in data.families[: _ROWS + 1]:
        if family in best_of:
            trial = best_of[family]
            estimate = model.estimate(trial.full_values)
            rows.append(
                _Row(
                    f"{family} #{trial.number}",
                    family,
                    trial.full_values,
                    fmean(trial.full_values),
                    estimate.error if estimate else None,
                )
            )
    return data.metric, rows


def _add(drawn: Figure, row: _Row) -> None:
    look, name = LOOKS[row.family], plain(row.name)
    drawn.add_trace(
        Scatter(
            x=rounded(row.values),
            y=[name] * len(row.values),
            mode="markers",
            marker={"color": look.color, "size": 6, "opacity": 0.5},
            hovertemplate=f"{name}, one seed: %{{x:.4g}}<extra></extra>",
        ),
        row=2,
        col=1,
    )
    drawn.add_trace(
        Scatter(
            x=[row.mean],
            y=[name],
            error_x=None if row.half is None else {"type": "constant", "value": row.half},
            mode="markers",
            marker={"color": look.color, "symbol": look.symbol, "size": 12},
            hovertemplate=f"{name}, mean of {len(row.values)}: %{{x:.4g}}<extra></extra>",
        ),
        row=2,
        col=1,
    )


def _zoom(drawn: Figure, rows: Sequence[_Row]) -> None:
    """Show the values that lie near the winner's; the rest is reached by zooming out."""
    best, means = rows[0].mean, sorted(abs(row.mean - rows[0].mean) for row in rows[1:])
    reach = 3 * max(means[len(means) // 2] if means else 0.0, rows[0].half or 0.0)
    near = [
        end
        for row in rows
        for middle, half in [(row.mean, row.half or 0.0), *((value, 0.0) for value in row.values)]
        for end in (middle - half, middle + half)
        if abs(end - best) <= reach
    ]
    if near and max(near) > min(near):
        pad = 0.06 * (max(near) - min(near))
        drawn.update_xaxes(range=[min(near) - pad, max(near) + pad], row=2)
