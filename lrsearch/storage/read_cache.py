"""A storage that reads no trial twice which is as it was.

Optuna reads all trials that have not ended whenever it samples or prunes: those that wait, of which
a study whose trials climb rungs has thousands, and in a block that writes to many of them also
those that run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from lrsearch.storage.messages import decoding
from lrsearch.storage.optuna_private import trial_id_of
from lrsearch.storage.transactions import Transactions
from lrsearch.storage.trial_reading import local_time, read_trial, read_trials, waiting_trials


@dataclass
class _Cache:
    """What a block has read of a study's trials."""

    study_id: int
    last: int = -1
    """The greatest id; −1 before the first reading."""
    changed: set[int] = field(default_factory=set)
    """Trials that were written to since they were read."""


class ReadCache(Transactions):
    """Optuna's storage, with a cache of the trials that are read again and again."""

    _cache: _Cache | None = None

    @cached_property
    def _waiting(self) -> dict[int, FrozenTrial]:
        """The trials that waited when they were read, by id: until they run none changes."""
        return {}

    @contextmanager
    def caching_reads(self, study_id: int) -> Iterator[None]:
        """Read a study's trials once in the block, then only new ones and those that it writes to.

        What others write to trials that were read goes unseen until the block ends.
        """
        self._cache = _Cache(study_id)
        try:
            yield
        finally:
            self._cache = None

    def note_change(self, trial_id: int) -> None:
        """Have a trial read again, since it was written to."""
        self._waiting.pop(trial_id, None)
        if self._cache:
            self._cache.changed.add(trial_id)

    def _get_trials(  # private: what Optuna's own cache of finished trials calls to read the others
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        cache = self._cache if self._cache and self._cache.study_id == study_id else None
        keeps_trials = bool(included_trial_ids) or trial_id_greater_than >= 0
        in_block = cache is not None and cache.last >= 0 and keeps_trials
        if cache and in_block:
            included_trial_ids, trial_id_greater_than = cache.changed, cache.last
        with decoding(), self._seeing() as connection:
            known = {} if in_block else self._still_waiting(connection, study_id)
            trials = read_trials(
                connection,
                study_id,
                after=trial_id_greater_than,
                beside=included_trial_ids,
                known=known,
            )
        self._waiting |= {trial_id_of(t): t for t in trials if t.state == TrialState.WAITING}
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        if cache:
            cache.last = max([cache.last, *map(trial_id_of, trials)])
            cache.changed.clear()
        return trials

    def _still_waiting(self, connection: Connection, study_id: int) -> dict[int, FrozenTrial]:
        """Return the trials that wait as they did when they were read.

        One that has trained since has reported, and one of another study began at another time.
        """
        return {
            trial_id: trial
            for trial_id, (begun, count) in waiting_trials(connection, study_id).items()
            if (trial := self._waiting.get(trial_id)) is not None
            and len(trial.intermediate_values) == count
            and trial.datetime_start == local_time(begun)
        }

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        with self._seeing() as connection:
            return read_trial(connection, trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Store a state and, of a complete trial, its value."""
        self.note_change(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a system attribute."""
        self.note_change(trial_id)
        super().set_trial_system_attr(trial_id, key, value)
