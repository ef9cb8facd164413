"""The result of a confirmation: each schedule on each seed, compared with the best."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, takewhile
from statistics import fmean

import numpy as np

from lrsearch import displays
from lrsearch.errors import StudyError
from lrsearch.evaluation.statistics import Comparison, compare
from lrsearch.schedules import Schedule
from lrsearch.storage import study_names
from lrsearch.study import ConfirmSection, Study, TrialRecord, confirmation_name, open_study


@dataclass(frozen=True)
class Entry:
    """A schedule that is confirmed.

    `trial` is its number in the search, if it was one, and `searched` its value there. By seed,
    `values` is what it came to on the test set and `validation` on the data that chose it;
    `diverged` and `failed_to_train` are the seeds on which it did.
    """

    name: str
    trial: int | None
    schedule: Schedule
    searched: float | None
    values: dict[int, float]
    validation: dict[int, float]
    diverged: list[int]
    failed_to_train: list[int]

    @property
    def infeasible(self) -> str:
        """How it ended on which share of the seeds, in words; "" where it trained on all."""
        bad = {"diverged": self.diverged, "failed to train": self.failed_to_train}
        seeds = len(self.values) + sum(map(len, bad.values()))
        return " and ".join(f"{how} on {len(on)} of {seeds} seeds" for how, on in bad.items() if on)


@dataclass(frozen=True)
class Confirmation:
    """The result of a confirmation; `compared` are the entries that trained on every seed.

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

    @property
    def of_search(self) -> Confirmation:
        """The same, in which only trials of the search are compared: what it can hand over."""
        trials = [entry for entry in self.compared if entry.trial is not None]
        return replace(self, compared=trials, comparison=_compared(trials, self))

    def _repr_html_(self) -> str:
        rows = [
            (
                entry.name,
                entry.schedule.base_lr,
                fmean(entry.values.values()) if entry.values else "",
                f"{len(entry.values)} of {len(self.seeds)}",
            )
            for entry in self.entries
        ]
        best = self.winner
        caption = f"the best by its mean: {best.name}" if best else "each diverged on some seed"
        return displays.table(
            ("schedule", "base_lr", f"mean {self.metric}", "seeds"), rows, caption
        )


def read_confirmation(study: Study) -> Confirmation:
    """Read the result of a confirmation.

    Raises:
        StudyError: if the study confirms nothing, or is not yet done.
    """
    confirm = study.spec.confirm
    if confirm is None:
        raise StudyError(f"study {study.name!r} is a search; run `lrsearch confirm` on it first")
    ended = [trial for trial in study.records(epochs=True) if trial.finished]
    if len(ended) < study.target:
        raise StudyError(
            f"{len(ended)} of the {study.target} runs of {study.name!r} have ended; "
            "`lrsearch resume` goes on"
        )
    validation = study.spec.study.metric
    metric = _tested_metric(validation, ended)
    searched = _read_searched(study, confirm)
    entries = []
    for index, schedule in enumerate(study.spec.given_schedules()):
        number = confirm.trials[index] if index < len(confirm.trials) else None
        of_seed = {trial.seed: trial for trial in ended if trial.entry == index}
        last = {s: t.epochs[-1].metrics for s, t in of_seed.items() if t.complete}
        entry = Entry(
            name=confirm.names[index] if confirm.names else f"{schedule.family.name} ({index + 1})",
            trial=number,
            schedule=schedule,
            searched=None if number is None else searched.get(number),
            values={seed: metrics.get(metric, np.nan) for seed, metrics in last.items()},
            validation={seed: metrics.get(validation, np.nan) for seed, metrics in last.items()},
            diverged=sorted(s for s, trial in of_seed.items() if trial.diverged),
            failed_to_train=sorted(s for s, trial in of_seed.items() if trial.failed_to_train),
        )
        entries.append(entry)
    compared = [entry for entry in entries if not entry.infeasible]
    maximize = study.spec.study.direction == "maximize"
    found = Confirmation(metric, maximize, confirm.seeds, entries, compared, None)
    return replace(found, comparison=_compared(compared, found))


def find_confirmation(study: Study) -> Confirmation | None:
    """Return the newest confirmation of a search, or what a study that confirms has itself found.

    `None` if none has come to its end.
    """
    if study.spec.confirm:
        with suppress(StudyError):
            return read_confirmation(study)
        return None
    there = study_names(study.storage)
    names = (confirmation_name(study.name, number) for number in count(1))
    for name in reversed(list(takewhile(there.__contains__, names))):
        with suppress(StudyError):  # it is still being trained
            return read_confirmation(open_study(study.storage, name))
    return None


def _compared(entries: Sequence[Entry], of: Confirmation) -> Comparison | None:
    """Compare entries by what they came to on the seeds; nothing if there is none."""
    table = np.array([[entry.values[seed] for seed in of.seeds] for entry in entries])
    return compare(table, maximize=of.maximize) if entries else None


def _tested_metric(metric: str, trials: Sequence[TrialRecord]) -> str:
    """Return the metric of the test set that stands for the study's; itself without a test set."""
    test = metric.replace("val_", "test_", 1)
    tested = any(trial.epochs and test in trial.epochs[-1].metrics for trial in trials)
    return test if tested else metric


def _read_searched(study: Study, confirm: ConfirmSection) -> dict[int, float]:
    """Return what the trials that were trained in full came to in the search, by their numbers."""
    if confirm.of is None:
        return {}
    search = open_study(study.storage, confirm.of)
    return {t.number: t.mean for t in search.results() if t.mean is not None}
