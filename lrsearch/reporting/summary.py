"""What there is to say of a study in words and tables: shared by the report and the dashboard."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import tomli_w

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.text import Table
from lrsearch.schedules import Warmup, format_value
from lrsearch.study import StudySpec, TrialRecord

_BEST = 10


def best_schedules(data: StudyData) -> Table:
    """Return the ten best complete trials with their schedules."""
    rows = [_best_row(rank, trial) for rank, trial in enumerate(data.ranked[:_BEST], 1)]
    head = ("", "trial", data.metric, "seeds", "family", "base_lr", "warmup", "parameters")
    return Table(head, rows)


def spent(data: StudyData) -> Table:
    """Return by family how trials ended, the epochs they took and what pruning saved."""
    groups = {name: [t for t in data.trials if t.family == name] for name in data.families}
    rows = [_spent_row(data, name, trials) for name, trials in groups.items()]
    head = ("family", "best", "complete", "pruned", "diverged", "failed", "epochs", "epochs saved")
    return Table(head, [*rows, _spent_row(data, "all", data.trials)])


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


def _best_row(rank: int, trial: TrialRecord) -> tuple[str, ...]:
    schedule = trial.schedule
    assert schedule is not None, "figures' data hold only trials that have one"
    params = schedule.to_dict()["params"].items()
    return (
        str(rank),
        str(trial.number),
        f"{trial.mean:.4f}",
        str(len(trial.full_values)),
        trial.family,
        format_value(trial.base_lr),
        _warmup(schedule.warmup),
        ", ".join(f"{name} {format_value(value)}" for name, value in params),
    )


def _spent_row(data: StudyData, name: str, trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    best = next((trial for trial in data.ranked if name in ("all", trial.family)), None)
    outcomes = Counter(trial.outcome for trial in trials)
    counts = (outcomes[name] for name in ("complete", "pruned", "diverged", "failed"))
    epochs = sum(len(trial.epochs) for trial in trials)
    value = f"{best.mean:.4f}" if best else ""
    return name, value, *map(str, (*counts, epochs, sum(map(data.saved, trials))))


def _warmup(warmup: Warmup | None) -> str:
    if warmup is None:
        return "none"
    start = f" from {warmup.start:.4g}" if warmup.start else ""
    before = ", laid before" if warmup.prepend else ""
    return f"{warmup.shape}{start} over {warmup.fraction:.1%}{before}"


def _without_nothing(value: Any) -> Any:
    """TOML has no null, and what is left out takes its default: it is the same study."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None and v != []}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
