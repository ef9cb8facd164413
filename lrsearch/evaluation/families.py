"""Which family? Each searched with the same number of trials, the best of each confirmed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.errors import StudyError
from lrsearch.evaluation.candidates import confirming
from lrsearch.evaluation.confirmation import Confirmation, Entry, read_confirmation
from lrsearch.schedules import families, family_named
from lrsearch.study import Study, StudySpec, TrialRecord

GOOD_MARGIN = 0.005
"""A trial this near to its family's best (0.5 pp of accuracy) is as good as it."""
END_VALUE_SHARE = 0.99
"""The share of a run's final value at which it is all but there."""


@dataclass(frozen=True)
class FamilyResult:
    """What came of a family.

    `entry` is its best schedule, confirmed; `epochs` the mean number of epochs in which that comes
    to 99 % of its final accuracy, none for a metric that is minimized; `decades` the width of the
    region of `base_lr` within 0.5 pp of the best; `infeasible` the share of trials that diverged or
    failed to train.
    """

    family: str
    entry: Entry
    params: dict[str, Any]
    epochs: float | None
    decades: float
    infeasible: float


def family_specs(spec: StudySpec, names: Sequence[str] = ()) -> dict[str, StudySpec]:
    """Return a search for each family, alike in all but the family.

    Args:
        spec: the study; its own families if `names` is empty, all if it names none.
        names: families to compare, at least two.

    Raises:
        ScheduleError: for an unknown family.
        StudyError: if there are fewer than two.
    """
    chosen = list(names) or spec.space.get("families") or list(families)
    for name in chosen:
        family_named(name)
    if len(set(chosen)) < 2:
        raise StudyError(f"to compare takes at least two families, but got {chosen}")
    specs = {}
    for name in chosen:
        data = spec.to_dict()
        data["study"]["name"] = f"{spec.study.name}-{name}"
        data["schedules"] = []
        others = set(families) - {name} | {"families"}
        domains = {k: v for k, v in data["space"].items() if k.partition(".")[0] not in others}
        data["space"] = {**domains, "families": [name]}
        specs[name] = StudySpec.from_dict(data)
    return specs


def comparison_spec(spec: StudySpec, searches: dict[str, Study], seeds: int) -> StudySpec:
    """Return the study that confirms the best schedule of each family on fresh seeds.

    A family without a complete trial is left out.

    Raises:
        StudyError: if fewer than two families have one.
    """
    best = {name: _best(study) for name, study in searches.items()}
    trials = {name: trial for name, trial in best.items() if trial}
    if len(trials) < 2:
        raise StudyError(
            f"of {', '.join(searches)} fewer than two have a complete trial; lower space.base_lr"
        )
    data = confirming(spec, list(trials.values()), seeds)
    data["study"]["name"] = f"{spec.study.name}-compared"
    data["confirm"]["names"] = list(trials)
    return StudySpec.from_dict(data)


def read_comparison(
    confirming: Study, searches: dict[str, Study]
) -> tuple[Confirmation, list[FamilyResult]]:
    """Read what came of each family, the best first and infeasible ones last."""
    fresh = read_confirmation(confirming)
    results = [_result(fresh, entry, confirming, searches[entry.name]) for entry in fresh.entries]
    sign = -1 if fresh.maximize else 1

    def place(result: FamilyResult) -> tuple[bool, float]:
        values = list(result.entry.values.values())
        return bool(result.entry.infeasible), sign * float(np.mean(values or [0.0]))

    return fresh, sorted(results, key=place)


def _best(study: Study) -> TrialRecord | None:
    try:
        return study.best()
    except StudyError:
        return None


def _result(fresh: Confirmation, entry: Entry, confirming: Study, search: Study) -> FamilyResult:
    best, trials = search.best(), search.records()
    assert best.mean is not None
    good = [
        trial.base_lr
        for trial in trials
        if trial.mean is not None and abs(trial.mean - best.mean) <= GOOD_MARGIN
    ]
    index = fresh.entries.index(entry)
    return FamilyResult(
        family=entry.name,
        entry=entry,
        params=dict(best.params),
        epochs=_epochs_to_the_end(confirming, index) if fresh.maximize else None,
        decades=math.log10(max(good) / min(good)),
        infeasible=sum(trial.infeasible for trial in trials) / len(trials),
    )


def _epochs_to_the_end(confirming: Study, index: int) -> float | None:
    """Return in how many epochs the runs of an entry come to 99 % of their final value."""
    metric = confirming.spec.study.metric
    took = []
    for trial in confirming.records(epochs=True):
        if trial.entry == index and trial.complete:
            values = [row.metrics[metric] for row in trial.epochs]
            reach = values[-1] - (1 - END_VALUE_SHARE) * abs(values[-1])  # it may be negative
            near = [value >= reach for value in values]
            took.append(near.index(True) + 1)
    return float(np.mean(took)) if took else None
