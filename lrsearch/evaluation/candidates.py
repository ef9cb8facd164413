"""Which schedules of a search are confirmed, and the study that does it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from lrsearch.errors import SpecError, StudyError, nearest
from lrsearch.study import Study, StudySpec, TrialRecord, confirmation_name, open_study

TOP_FAMILIES = 3
"""So many of the best families are confirmed with at least one schedule each."""


def confirmation_spec(
    study: Study, top: int = 5, seeds: int = 5, against: Sequence[str] = ()
) -> StudySpec:
    """Return the study that confirms the best schedules of a search.

    It holds the best `top` complete trials, the best of each of the best three families, the best
    of each family in `against`, `constant` where the search has one, and what the study file lists.
    No schedule is in it twice.

    Args:
        study: the search.
        top: how many of its best trials, at least 1.
        seeds: on how many fresh seeds each, at least 2.
        against: families to compare with.

    Raises:
        StudyError: if no trial of the search is complete, or a family has none that ended.
    """
    if study.spec.confirm:
        raise StudyError(f"study {study.name!r} confirms another itself; name the search")
    if top < 1 or seeds < 2:
        raise SpecError(f"--top must be at least 1 and --seeds at least 2, but got {top}, {seeds}")
    chosen = _chosen(study, top, against)
    data = confirming(study.spec, chosen, seeds)
    data["confirm"] |= {"of": study.name, "trials": [trial.number for trial in chosen]}
    return _named(study, data)


def confirming(spec: StudySpec, trials: Sequence[TrialRecord], seeds: int) -> dict[str, Any]:
    """Return the JSON form of a study that trains the schedules of trials on fresh seeds."""
    data = spec.to_dict()
    first = spec.study.seed + getattr(spec.pruning, "seeds", 1)  # what the search has not seen
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


def _named(study: Study, data: dict[str, Any]) -> StudySpec:
    """Name a confirmation: as one that is there and the same, which then goes on, or by a new name.

    A search that has gone on has other candidates, and its old confirmation is kept.
    """
    there = {other.study_name for other in study.storage.get_all_studies()}
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
