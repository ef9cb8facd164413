"""What is to be told of a study in words and tables: shared by the report and the dashboard."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import tomli_w

from lrsearch.figures import StudyData, TrialData
from lrsearch.spec import StudySpec

_BEST = 10


class Table(NamedTuple):
    """A table for people."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def best_schedules(data: StudyData) -> Table:
    """Return the ten best complete trials with their schedules."""
    rows = []
    for rank, trial in enumerate(data.ranked[:_BEST], 1):
        schedule = trial.optuna.user_attrs["schedule"]
        rows.append(
            (
                str(rank),
                str(trial.number),
                f"{trial.optuna.values[0]:.4f}",
                trial.family,
                f"{trial.base_lr:.4g}",
                _warmup(schedule["warmup"]),
                _in_words(schedule["params"]),
            )
        )
    return Table(("", "trial", data.metric, "family", "base_lr", "warmup", "parameters"), rows)


def spent(data: StudyData) -> Table:
    """Return by family how trials ended, the epochs they took and what pruning saved."""
    groups = {name: [t for t in data.trials if t.family == name] for name in data.families}
    rows = [_spent(data, name, trials) for name, trials in groups.items()]
    head = ("family", "best", "complete", "pruned", "diverged", "failed", "epochs", "epochs saved")
    return Table(head, [*rows, _spent(data, "all", data.trials)])


def spec_toml(spec: StudySpec) -> str:
    """Return the study's spec as a study file."""
    return tomli_w.dumps(_without_nothing(spec.to_dict()))


def commands(data: StudyData, url: str) -> str:
    """Return the commands that take the best schedule along, and that search again."""
    name = shlex.quote(data.name)
    lines = [
        "# search again: save the study file as study.toml",
        "lrsearch launch study.toml --storage sqlite:///again.db",
    ]
    if data.ranked:
        lines = [
            f"# take the best schedule, of trial {data.ranked[0].number}, along",
            f"lrsearch export --storage {shlex.quote(url)} --study {name} -o best.json",
            *lines,
        ]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Return text for Markdown that stays what it is: neither tags nor marks take effect."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escape(" ".join(text.split())))


def markdown_code(text: str) -> str:
    """Return text as a block of code; indented, since no text can close that."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def markdown_table(table: Table) -> str:
    """Return a table in GitHub's Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    cells = [[cell if cell == "---" else markdown_text(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _spent(data: StudyData, name: str, trials: Sequence[TrialData]) -> tuple[str, ...]:
    best = next((trial for trial in data.ranked if name in ("all", trial.family)), None)
    outcomes = Counter(trial.outcome for trial in trials)
    counts = (outcomes[name] for name in ("complete", "pruned", "diverged", "failed"))
    epochs = sum(len(trial.epochs) for trial in trials)
    value = f"{best.optuna.values[0]:.4f}" if best else ""
    return name, value, *map(str, (*counts, epochs, sum(map(data.saved, trials))))


def _warmup(warmup: dict[str, Any] | None) -> str:
    if warmup is None:
        return "none"
    start = f" from {warmup['start']:.4g}" if warmup["start"] else ""
    return f"{warmup['shape']}{start} over {warmup['fraction']:.1%}"


def _in_words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " / ".join(map(_short, value)) if isinstance(value, list) else str(value)


def _without_nothing(value: Any) -> Any:
    """TOML has no null, and what is left out takes its default: it is the same study."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None and v != []}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
