"""Which schedules of a search are confirmed, and the study that does it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from lrsearch.errors import SpecError, StudyError, TaskError, nearest
from lrsearch.schedules import Constant, Schedule
from lrsearch.storage import study_names
from lrsearch.study import Study, StudySpec, TrialRecord, confirmation_name, open_study
from lrsearch.tasks import load_task

SCHEDULE_FREE = "schedule_free"
SCHEDULE_FREE_FACTORS = (1.0, 3.0, 10.0)
"""Of the rate of the best constant schedule; schedule-free optimizers take higher ones."""
ADAPTIVE = ("rmsprop", "adam", "nadam", "adamw")
"""Optimizers that schedule-free AdamW stands for; schedule-free SGD for the others."""
OPTIMIZER_NAME = "task.optimizer.name"
TOP_FAMILIES = 3
"""So many of the best families are confirmed with at least one schedule each."""


def confirmation_spec(
    study: Study, top: int = 5, seeds: int = 5, against: Sequence[str] = ()
) -> StudySpec:
    """Return the study that confirms the best schedules of a search.

    It holds the best `top` complete trials, the best of each of the best three families, the best
    of each family in `against`, `constant` where the search has one, and what the study file lists.
    No schedule is in it twice. "schedule_free" in `against` adds a constant rate with a
    schedule-free optimizer, at 1, 3 and 10 times that of the best constant schedule (else of the
    best): whether a schedule is needed at all. The best of these three is chosen on the test set,
    which flatters it a little.

    Args:
        study: the search.
        top: how many of its best trials, at least 1.
        seeds: on how many fresh seeds each, at least 2.
        against: families to compare with, and "schedule_free".

    Raises:
        StudyError: if no trial of the search is complete, or a family has none that ended.
        TaskError: for "schedule_free", if the task's optimizer cannot be exchanged.
    """
    if study.spec.confirm:
        raise StudyError(f"study {study.name!r} confirms another itself; name the search")
    if top < 1 or seeds < 2:
        raise SpecError(f"--top must be at least 1 and --seeds at least 2, but got {top}, {seeds}")
    chosen = _chosen(study, top, [name for name in against if name != SCHEDULE_FREE])
    data = confirming(study.spec, chosen, seeds)
    data["confirm"] |= {"of": study.name, "trials": [trial.number for trial in chosen]}
    if SCHEDULE_FREE in against:
        _add_schedule_free(study, data)
    return _named(study, data)


def confirming(spec: StudySpec, trials: Sequence[TrialRecord], seeds: int) -> dict[str, Any]:
    """Return the JSON form of a study that trains the schedules of trials on fresh seeds."""
    data = spec.to_dict()
    searched = len(spec.rungs([1]))  # each full run, whatever its length, has a seed of its own
    first = spec.study.seed + searched
    data["study"] |= {"trials": len(trials) * seeds, "epochs": None, "time": None, "patience": None}
    data["schedules"] = [trial.schedule.to_dict() for trial in trials if trial.schedule]
    data["pruning"], data["sampler"] = {"kind": "none"}, {"kind": "random"}
    data["space"] = {key: value for key, value in data["space"].items() if key.startswith("task.")}
    data["confirm"] = {
        "seeds": list(range(first, first + seeds)),
        "names": [f"{trial.family} #{trial.number}" for trial in trials],
        "options": [trial.task_options for trial in trials],
    }
    return data


def _add_schedule_free(study: Study, data: dict[str, Any]) -> None:
    """Add constant rates with a schedule-free optimizer to the JSON form of a confirmation."""
    from lrsearch.tasks import require_supervised  # it loads torch, which no other reader needs

    task = require_supervised(load_task(study.spec.task.run, study.spec.task_options()))
    if (own := task.optimizer_name) == "custom":
        raise TaskError(
            "--against schedule_free exchanges the task's optimizer, which must be one by name "
            "(task.optimizer), but the task makes its own"
        )
    free = f"schedule_free_{'adamw' if own in ADAPTIVE else 'sgd'}"
    constant = [trial for trial in study.ranked() if trial.family == "constant"]
    base = constant[0] if constant else study.best()
    confirm = data["confirm"]
    for options in confirm["options"]:
        options.setdefault(OPTIMIZER_NAME, own)
    for factor in SCHEDULE_FREE_FACTORS:
        schedule = Schedule(Constant(), base.base_lr * factor)
        data["schedules"].append(schedule.to_dict())
        confirm["names"].append(f"{free}, {schedule.base_lr:.3g}")
        confirm["options"].append(base.task_options | {OPTIMIZER_NAME: free})
    data["space"][OPTIMIZER_NAME] = {"choices": [own, free]}
    data["study"]["trials"] = len(data["schedules"]) * len(confirm["seeds"])


def _named(study: Study, data: dict[str, Any]) -> StudySpec:
    """Name a confirmation: as one that is there and the same, which then goes on, or by a new name.

    A search that has gone on has other candidates, and its old confirmation is kept.
    """
    there = study_names(study.storage)
    for number in count(1):
        data["study"]["name"] = confirmation_name(study.name, number)
        spec = StudySpec.from_dict(data)
        if spec.study.name not in there or open_study(study.storage, spec.study.name).spec == spec:
            return spec
    raise AssertionError("count never ends")


def _chosen(study: Study, top: int, against: Sequence[str]) -> list[TrialRecord]:
    """Return the trials to confirm, the best first; no two of them train the same."""
    ended = study.ranked()
    complete = [trial for trial in ended if trial.mean is not None]
    if not complete:
        raise StudyError(
            f"study {study.name!r} has no complete trial to confirm; let `lrsearch resume` go on"
        )
    best_of: dict[str, TrialRecord] = {}
    for trial in ended:
        best_of.setdefault(trial.family, trial)
    for name in against:
        if name not in best_of:
            raise StudyError(
                f"--against {name}: the search has no trial of it that ended; "
                f"{nearest(name, best_of)}"
            )
    wanted = complete[:top]
    families = list(dict.fromkeys(trial.family for trial in complete))
    wanted += [best_of[name] for name in (*families[:TOP_FAMILIES], *against)]
    wanted += [best_of["constant"]] if "constant" in best_of else []
    wanted += [trial for trial in ended if trial.given]
    chosen: list[TrialRecord] = []
    for trial in sorted(wanted, key=ended.index):
        if not any(trial.same_as(other) for other in chosen):
            chosen.append(trial)
    return chosen
