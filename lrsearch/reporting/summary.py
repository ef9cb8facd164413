"""What there is to say of a study in words and tables: shared by the report and the dashboard."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import tomli_w

from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.text import Table, parameters
from lrsearch.schedules import format_value
from lrsearch.study import StudySpec, TrialRecord

_BEST = 10
_PARAMETERS = "warmup and parameters"
_ENDS = ("complete", "pruned", "failed to train", "diverged", "failed")


def best_schedules(data: StudyData) -> Table:
    """Return the ten best complete trials with their schedules."""
    rows = [_best_row(rank, trial) for rank, trial in enumerate(data.ranked[:_BEST], 1)]
    head = ("", "trial", data.metric, "seeds", "family", "base_lr", _PARAMETERS)
    return Table(head, rows)


def all_trials(data: StudyData) -> Table:
    """Return every trial that has a schedule: how it ended, what it came to, what it trained."""
    head = ("trial", "outcome", data.metric, "seeds", "epochs", "family", "base_lr", _PARAMETERS)
    return Table(head, [_trial_row(trial) for trial in data.trials], long=True)


def in_a_sentence(data: StudyData) -> str:
    """Return the answer: what to train with, how good it is and how sure that is."""
    answer = data.answer
    if answer is None:
        return "No trial is complete, so there is no best schedule."
    trial = answer.trial
    said = (
        f"Train with {trial.family}, base_lr {trial.base_lr:.4g} (trial {trial.number}): "
        f"{answer.summary}."
    )
    if answer.confirmed is None:
        return f"{said} That is on the validation data that chose it; `lrsearch confirm` tests it."
    if answer.confirmed.beaten:
        said += f" It beats {', '.join(answer.confirmed.beaten)}."
    if answer.confirmed.tied:
        said += f" It cannot be told apart from {', '.join(answer.confirmed.tied)}."
    if answer.leads_now is not None:
        said += f" Trial {answer.leads_now} leads the search now and is not confirmed."
    return said


def spent(data: StudyData) -> Table:
    """Return by family how trials ended, the epochs they took and what pruning saved."""
    groups = {name: [t for t in data.trials if t.family == name] for name in data.families}
    rows = [_spent_row(data, name, trials) for name, trials in groups.items()]
    head = ("family", "best", *_ENDS, "epochs", "epochs saved")
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
    if answer := data.answer:
        where = f"--storage {shlex.quote(url)} --study {name}"
        if answer.confirmed is None or answer.leads_now is not None:
            lines = [
                "# train the best again on fresh seeds, and test them",
                f"lrsearch confirm {where}",
                *lines,
            ]
        kind = "the confirmed winner" if answer.confirmed else "the best schedule"
        lines = [
            f"# take {kind}, of trial {answer.trial.number}, along",
            f"lrsearch export {where} -o best.json",
            *lines,
        ]
    return "\n".join(lines) + "\n"


def _best_row(rank: int, trial: TrialRecord) -> tuple[str, ...]:
    schedule = trial.schedule
    assert schedule is not None, "figures' data hold only trials that have one"
    return (
        str(rank),
        str(trial.number),
        f"{trial.mean:.4f}",
        str(len(trial.full_values)),
        trial.family,
        format_value(trial.base_lr),
        parameters(schedule),
    )


def _trial_row(trial: TrialRecord) -> tuple[str, ...]:
    schedule = trial.schedule
    assert schedule is not None, "figures' data hold only trials that have one"
    return (
        str(trial.number),
        trial.outcome,
        "" if trial.value is None else f"{trial.value:.4f}",
        str(len(trial.full_values)),
        str(len(trial.epochs)),
        trial.family,
        format_value(trial.base_lr),
        parameters(schedule),
    )


def _spent_row(data: StudyData, name: str, trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    best = next((trial for trial in data.ranked if name in ("all", trial.family)), None)
    outcomes = Counter(trial.outcome for trial in trials)
    counts = (outcomes[name] for name in _ENDS)
    epochs = sum(len(trial.epochs) for trial in trials)
    value = f"{best.mean:.4f}" if best else ""
    return name, value, *map(str, (*counts, epochs, sum(map(data.saved, trials))))


def _without_nothing(value: Any) -> Any:
    """TOML has no null, and what is left out takes its default: it is the same study."""
    if isinstance(value, dict):
        return {k: _without_nothing(v) for k, v in value.items() if v is not None and v != []}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
