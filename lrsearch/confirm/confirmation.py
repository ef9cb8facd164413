"""What a confirmation found: each schedule on each seed, compared with the best."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from lrsearch.errors import StudyError
from lrsearch.schedules import Schedule
from lrsearch.spec import ConfirmSection
from lrsearch.statistics import Comparison, compare
from lrsearch.storage import FINISHED, read_metrics
from lrsearch.study import Study, confirmation_name, open_study


@dataclass(frozen=True)
class Entry:
    """A schedule that is confirmed.

    `trial` is its number in the search, if it was one, and `searched` its value there. By seed,
    `values` is what it came to on the test set and `validation` on the data that chose it;
    `diverged` are the seeds on which it did.
    """

    name: str
    trial: int | None
    schedule: Schedule
    searched: float | None
    values: dict[int, float]
    validation: dict[int, float]
    diverged: list[int]


@dataclass(frozen=True)
class Confirmation:
    """What a confirmation found; `compared` are the entries that diverged on no seed, in order.

    Without any such entry there is neither a winner nor a comparison.
    """

    metric: str
    maximize: bool
    seeds: list[int]
    entries: list[Entry]
    compared: list[Entry]
    comparison: Comparison | None

    @property
    def winner(self) -> Entry | None:
        """The best by its mean over the seeds."""
        return self.compared[self.comparison.best] if self.comparison else None


def read_confirmation(study: Study) -> Confirmation:
    """Read what a confirmation found.

    Raises:
        StudyError: if the study is none, or is not yet done.
    """
    confirm = study.spec.confirm
    if confirm is None:
        raise StudyError(f"study {study.name!r} is a search; run `lrsearch confirm` on it first")
    trials = study.optuna.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state in FINISHED]
    if len(ended) < study.target:
        raise StudyError(
            f"{len(ended)} of the {study.target} runs of {study.name!r} have ended; "
            "`lrsearch resume` goes on"
        )
    metric, values = _read_values(study)
    searched = _read_searched(study, confirm)
    entries = [
        _entry(
            confirm,
            index,
            schedule,
            [t for t in ended if t.user_attrs["entry"] == index],
            values,
            searched,
        )
        for index, schedule in enumerate(study.spec.given_schedules())
    ]
    compared = [entry for entry in entries if not entry.diverged]
    maximize = study.spec.study.direction == "maximize"
    table = np.array([[entry.values[seed] for seed in confirm.seeds] for entry in compared])
    comparison = compare(table, maximize=maximize) if compared else None
    return Confirmation(metric, maximize, confirm.seeds, entries, compared, comparison)


def last_confirmation(study: Study) -> Confirmation | None:
    """Return what the newest confirmation of a search found; `None` if none has come to its end."""
    there = {found.study_name for found in study.storage.get_all_studies()}
    names = (confirmation_name(study.name, number) for number in count(1))
    for name in reversed(list(takewhile(there.__contains__, names))):
        with suppress(StudyError):  # it is still being trained
            return read_confirmation(open_study(study.storage, name))
    return None


def _read_values(study: Study) -> tuple[str, dict[int, tuple[float, float]]]:
    """Return the metric of the test set, and by trial its value and that of the study's metric.

    A task without a test set is judged by the study's own metric.
    """
    metric = study.spec.study.metric
    last = {row.trial: row.metrics for row in read_metrics(study.storage, study.study_id)}
    test = metric.replace("val_", "test_", 1)
    has_test = any(test in metrics for metrics in last.values())
    name = test if has_test else metric
    values = {
        trial: (metrics.get(name, np.nan), metrics.get(metric, np.nan))
        for trial, metrics in last.items()
    }
    return name, values


def _entry(
    confirm: ConfirmSection,
    index: int,
    schedule: Schedule,
    trials: list[FrozenTrial],
    values: dict[int, tuple[float, float]],
    searched: dict[int, float],
) -> Entry:
    of_seed = {trial.user_attrs["seed"]: trial for trial in trials}
    good = {s: t.number for s, t in of_seed.items() if t.state == TrialState.COMPLETE}
    number = confirm.trials[index] if confirm.trials else None
    return Entry(
        name=confirm.names[index] if confirm.names else f"{schedule.shape.name} ({index + 1})",
        trial=number,
        schedule=schedule,
        searched=None if number is None else searched.get(number),
        values={seed: values[trial][0] for seed, trial in good.items()},
        validation={seed: values[trial][1] for seed, trial in good.items()},
        diverged=sorted(set(of_seed) - set(good)),
    )


def _read_searched(study: Study, confirm: ConfirmSection) -> dict[int, float]:
    """Return what the trials that were trained in full came to in the search, by their numbers."""
    if confirm.of is None:
        return {}
    search = open_study(study.storage, confirm.of)
    complete = search.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {trial.number: float(trial.values[0]) for trial in complete}
