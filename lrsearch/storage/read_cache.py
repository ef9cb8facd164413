"""A storage that reads the trials of a study once for a block that writes to many of them.

Optuna reads all running trials whenever it samples or prunes.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lrsearch.storage.optuna_private import trial_id_of


@dataclass
class _Cache:
    """What a block has read of a study's trials."""

    study_id: int
    last: int = -1
    """The greatest id; −1 before the first reading."""
    changed: set[int] = field(default_factory=set)
    """Trials that were written to since they were read."""


class ReadCache(RDBStorage):
    """Optuna's storage, with a cache of the trials that a block reads again and again."""

    _cache: _Cache | None = None

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
        if cache and cache.last >= 0 and keeps_trials:
            included_trial_ids, trial_id_greater_than = cache.changed, cache.last
        trials = super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        if cache:
            cache.last = max([cache.last, *map(trial_id_of, trials)])
            cache.changed.clear()
        return trials

    def _set_trial_param(  # private: what `set_trial_param` and Optuna's cache call
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,
    ) -> None:
        self.note_change(trial_id)
        super()._set_trial_param(
            trial_id, param_name, param_value_internal, distribution, previous_distribution
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Store a state and, of a complete trial, its value."""
        self.note_change(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a user attribute."""
        self.note_change(trial_id)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a system attribute."""
        self.note_change(trial_id)
        super().set_trial_system_attr(trial_id, key, value)
