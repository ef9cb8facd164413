"""A trial as a small SVG: learning rate, losses and value over its updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lrsearch.reporting.figures.style import ALARM, INK, LOOKS
from lrsearch.study import TrialRecord, with_train

_WIDTH, _HEIGHT, _LEFT, _GAP = 800, 180, 80, 36
_MARKS = (("——", "none"), ("- -", "7 5"), ("···", "2 4"), ("-·-", "9 4 2 4"))
"""How lines of one panel are told apart: in its legend, and as SVG's dashes."""
_FEW = 30
"""Points up to which a line shows them."""
Points = Sequence[tuple[float, float]]


def picture(trial: TrialRecord, metric: str) -> str:
    """Draw a trial: what the rate did to its losses, accuracies and the metric, as it trained."""
    steps, rates = trial.curve()
    of_name: dict[str, Points] = {
        name: trial.course(name)
        for name in dict.fromkeys(name for row in trial.last_run for name in row.metrics)
    }
    losses = {n: points for n, points in of_name.items() if n == "loss" or n.endswith("_loss")}
    panels: list[dict[str, Points]] = [
        {"learning rate": list(zip(steps, rates, strict=True))},
        losses,
        {n: of_name[n] for n in with_train(metric) if n in of_name and metric not in losses},
    ]
    shown = [
        panel
        for panel in panels
        if any(math.isfinite(y) for points in panel.values() for _, y in points)
    ]
    height = _GAP + len(shown) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="16" '
        f'stroke-linejoin="round">'
    ]
    for index, panel in enumerate(shown):
        parts.append(_panel(panel, _GAP + index * (_HEIGHT + _GAP), trial))
    parts.append(_text(_WIDTH - 4, height - 10, f"{trial.run_clock.total_steps} updates", "end"))
    return "".join([*parts, "</svg>"])


def _panel(lines: dict[str, Points], top: int, trial: TrialRecord) -> str:
    """Draw lines over the same steps, with the lowest and the highest value beside them."""
    values = [y for points in lines.values() for _, y in points if math.isfinite(y)]
    low, high = min(values), max(values)
    if "learning rate" in lines:
        low = 0.0
    color = LOOKS[trial.family].color
    legend = " · ".join(f"{name} {_MARKS[i % 4][0]}" for i, name in enumerate(lines))
    parts = [
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - 4}" height="{_HEIGHT}" '
        f'fill="none" stroke="{INK}" stroke-opacity="0.4"/>',
        _text(_LEFT, top - 6, legend if len(lines) > 1 else next(iter(lines)), "start"),
        _text(_LEFT - 6, top + 12, f"{high:.4g}", "end"),
        _text(_LEFT - 6, top + _HEIGHT, f"{low:.4g}", "end"),
    ]

    def place(x: float, y: float) -> tuple[float, float]:
        right = (_WIDTH - _LEFT - 4) * x / trial.run_clock.total_steps
        up = _HEIGHT * (y - low) / ((high - low) or 1.0)
        return round(_LEFT + right, 1), round(top + _HEIGHT - min(up, _HEIGHT), 1)

    for index, points in enumerate(lines.values()):
        places = [place(x, y) for x, y in points if math.isfinite(y)]
        drawn = " ".join(f"{x},{y}" for x, y in places)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="2.5" '
            f'stroke-dasharray="{_MARKS[index % 4][1]}"/>'
        )
        if len(points) < _FEW:
            parts += [f'<circle cx="{x}" cy="{y}" r="4" fill="{color}"/>' for x, y in places]
        if len(points) == 1:
            (x, y), (_, value) = places[0], points[0]
            parts.append(_text(int(x) - 8, int(y) + 24, f"{value:.4g}", "end"))
    if trial.diverged and "learning rate" in lines:
        x, y = place(trial.diverged.step, trial.diverged.lr)
        parts.append(
            f'<path d="M{x - 6} {y - 6}l12 12m0 -12l-12 12" stroke="{ALARM}" stroke-width="3"/>'
            + _text(int(x) + 10, int(y) + 16, "diverged", "start")
        )
    return "".join(parts)


def _text(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'
