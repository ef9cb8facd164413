"""A study: its spec, its trials, its budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial

from lrsearch.errors import StudyError
from lrsearch.search import Climb, Rung
from lrsearch.storage import (
    EpochMetrics,
    Storage,
    StudyRow,
    collecting_later,
    read_sketches,
    read_study,
    set_limits,
    set_stopping,
    set_target,
    study_id_of,
)
from lrsearch.study.records import TrialRecord, as_record, epochs_by_trial, read_earlier
from lrsearch.study.results import RESULT_ATTRIBUTES, TrialResult, as_result, ranked
from lrsearch.study.spec import StudySpec
from lrsearch.study.table import trial_rows
from lrsearch.tasks import with_betas

SPEC = "lrsearch:spec"
"""The study attribute that holds the spec."""
HORIZONS = "lrsearch:horizons"
"""The study attribute that holds the epochs of each run of a trial; the last is the full run."""
EARLIER = "lrsearch:earlier"
"""The study attribute that holds `{study, trials}`: what it learns from an earlier study."""
DATA_CHECKSUM = "lrsearch:data"
"""The study attribute that holds the checksum of the data, where the task gives one."""
SETTINGS = "lrsearch:settings"
"""The study attribute that holds the task's settings, its defaults among them."""
VERSIONS = "lrsearch:versions"
"""The study attribute that holds the versions of the packages that it was made with."""


class Study:
    """A study with its spec; `create_study` makes one and `open_study` opens one.

    Args:
        storage: where it lives.
        study: Optuna's.
        spec: what it is.
        files: the folder for its logs, and for its checkpoints unless the storage has a store.
    """

    def __init__(self, storage: Storage, study: optuna.Study, spec: StudySpec, files: Path) -> None:
        self.storage = storage
        self.optuna = study
        self.spec = spec
        self.files = files
        self._ended: dict[int, TrialRecord] = {}
        """Records of trials that can change no more, by number."""
        self._results: dict[int, TrialResult] = {}
        """What such trials came to, by number."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.optuna.study_name

    @property
    def study_id(self) -> int:
        """Optuna's id of the study."""
        return study_id_of(self.optuna)

    @property
    def checkpoints(self) -> Path | str:
        """Where its checkpoints are: a folder, or the URL of a store, which may hold secrets."""
        store = self.storage.store
        folder = self.files / "checkpoints"
        return folder if store is None else f"{store}/{self.files.name}/{folder.name}"

    @cached_property
    def horizons(self) -> tuple[int, ...]:
        """The epochs of each run of a trial; the last is the full run."""
        return tuple(self.optuna.user_attrs[HORIZONS])

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """The runs of a trial, in order."""
        return self.spec.rungs(self.horizons)

    @property
    def climb(self) -> Climb | None:
        """What decides which trial goes on; `None` where each is trained to its end."""
        return self.spec.climb(self.horizons)

    @property
    def data_checksum(self) -> str | None:
        """The checksum of the data, where the task gives one."""
        checksum: str | None = self.optuna.user_attrs.get(DATA_CHECKSUM)
        return checksum

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that it was made with, by name; empty for old studies."""
        versions: dict[str, str] = self.optuna.user_attrs.get(VERSIONS, {})
        return versions

    def settings(self, trial: TrialRecord) -> dict[str, Any]:
        """Return what a trial was trained with beside its schedule, defaults among it, as JSON.

        Of a task without `settings` it is what the study file says.
        """
        defaults: dict[str, Any] = self.optuna.user_attrs.get(SETTINGS, {})
        known = set(defaults) | {name.split(".")[1] for name in trial.task_options}
        options = self.spec.task_options(FixedTrial(dict(trial.params)))
        if isinstance(optimizer := options.get("optimizer"), dict):
            options["optimizer"] = with_betas(optimizer)
        return defaults | {
            name: value for name, value in options.items() if not defaults or name in known
        }

    def records(self, *, epochs: bool = False) -> list[TrialRecord]:
        """Return its trials, by their numbers, with or without what each epoch showed."""
        rows = epochs_by_trial(self.storage, self.study_id) if epochs else {}
        trials = self.optuna.get_trials(deepcopy=False)
        with collecting_later():
            return [self._record(trial, rows.get(trial.number, ())) for trial in trials]

    def record(self, number: int) -> TrialRecord:
        """Return the trial of that number, with its epochs.

        Raises:
            StudyError: if there is none.
        """
        if not (found := self.storage.trials_numbered(self.study_id, [number])):
            raise StudyError(f"study {self.name!r} has no trial {number}")
        rows = epochs_by_trial(self.storage, self.study_id, [number])
        return self._record(found[0], rows.get(number, ()))

    def records_of(self, numbers: Iterable[int]) -> dict[int, TrialRecord]:
        """Return some trials, by their numbers, without their epochs; no other is read."""
        found = self.storage.trials_numbered(self.study_id, numbers)
        return {trial.number: as_record(trial, self.spec, self.rungs) for trial in found}

    def results(self) -> list[TrialResult]:
        """Return what its trials came to, by their numbers: read in a fifth of `records`' time."""
        steps = {rung.step for rung in self.rungs}
        with collecting_later():
            sketches = read_sketches(
                self.storage, self.study_id, steps, RESULT_ATTRIBUTES, self._results
            )
            read = [as_result(sketch, self.rungs) for sketch in sketches]
        self._results |= {result.number: result for result in read if result.state.is_finished()}
        there = {result.number: result for result in read} | self._results
        return [there[number] for number in sorted(there)]

    def best(self) -> TrialRecord:
        """Return the trial with the best mean over its full runs, with its epochs.

        While no trial is trained in full, the best of those that came furthest.

        Raises:
            StudyError: if no trial has come to anything.
        """
        while found := ranked(self.results(), maximize=self.maximize):
            record = self.record(found[0].number)
            if record.value is not None:  # else it has diverged in between
                return record
        raise StudyError(
            f"study {self.name!r} has no trained trial yet; let `lrsearch launch` train one"
        )

    def ranked(self) -> list[TrialRecord]:
        """Return the trials that have a value, the best first; those trained in full lead."""
        return ranked(self.records(), maximize=self.maximize)

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.spec.study.direction == "maximize"

    def complete(self, number: int) -> TrialRecord:
        """Return the complete trial of that number, with its epochs.

        Raises:
            StudyError: if there is none, or it is not complete.
        """
        record = self.record(number)
        if record.mean is None:
            raise StudyError(
                f'trial {number} is not complete, but "{record.outcome}"; choose another'
            )
        return record

    def trials_dataframe(self) -> Any:
        """Return all trials as a pandas `DataFrame`, a row for each; see `trial_rows`.

        Raises:
            StudyError: without pandas.
        """
        try:
            import pandas as pd
        except ImportError:
            raise StudyError("a DataFrame needs pandas: pip install 'lrsearch[pandas]'") from None
        return pd.DataFrame(trial_rows(self.records(epochs=True)))

    def trial(self, trial_id: int, number: int) -> optuna.Trial:
        """Return a running trial of Optuna's, its sampler seeded by the study and its number.

        So neither a restart nor a second worker repeats or changes what is sampled.
        """
        self.optuna.sampler = self.spec.build_sampler(number, self.rungs, self._earlier)
        self.optuna.get_trials(deepcopy=False)  # Optuna's cache must know the trial to write to it
        return optuna.Trial(self.optuna, trial_id)

    @property
    def target(self) -> int:
        """The budget: how many trials are to finish."""
        return self._row.target

    @property
    def epochs_target(self) -> int | None:
        """The budget of epochs in all; none for no limit."""
        return self._row.epochs

    @property
    def seconds_target(self) -> float | None:
        """The budget of time, in seconds from the first trial on; none for no limit."""
        return self._row.seconds

    @property
    def stopping(self) -> bool:
        """Whether its workers are to leave."""
        return self._row.stopping

    def set_target(self, target: int) -> None:
        """Set the budget.

        Raises:
            StudyError: if more trials than that have finished or are being trained.
        """
        set_target(self.storage, self.study_id, target)

    def set_limits(self, *, epochs: int | None = None, seconds: float | None = None) -> None:
        """Set budgets of epochs in all and of seconds from now on; none leaves one as it is."""
        set_limits(self.storage, self.study_id, epochs=epochs, seconds=seconds)

    def set_stopping(self, stopping: bool) -> None:
        """Tell its workers to leave, or let them work (again)."""
        set_stopping(self.storage, self.study_id, stopping)

    @property
    def learns_from(self) -> tuple[str, int] | None:
        """The earlier study that its sampler learns from, and how many trials of it."""
        stored = self.optuna.user_attrs.get(EARLIER)
        return (stored["study"], len(stored["trials"])) if stored else None

    @cached_property
    def _earlier(self) -> list[FrozenTrial]:
        stored = self.optuna.user_attrs.get(EARLIER)
        return read_earlier(stored["trials"]) if stored else []

    @property
    def _row(self) -> StudyRow:
        row = read_study(self.storage, self.study_id)
        if row is None:
            raise StudyError(f"study {self.name!r} was deleted")
        return row

    def _record(self, trial: FrozenTrial, epochs: Sequence[EpochMetrics] = ()) -> TrialRecord:
        if epochs or not trial.state.is_finished():
            return as_record(trial, self.spec, self.rungs, epochs)
        if trial.number not in self._ended:
            self._ended[trial.number] = as_record(trial, self.spec, self.rungs)
        return self._ended[trial.number]
