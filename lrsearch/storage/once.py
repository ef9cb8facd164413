"""Trials that are read once: Optuna reads all that run whenever it samples or prunes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState


@dataclass
class _Read:
    """What a block has read of a study's trials."""

    study_id: int
    last: int = -1
    """The greatest id; −1 before the first reading."""
    changed: set[int] = field(default_factory=set)
    """Trials that were written to since they were read."""


class ReadOnce(RDBStorage):
    """A storage whose trials one that writes to many of them in turn may read once."""

    _read: _Read | None = None

    @contextmanager
    def reading_once(self, study_id: int) -> Iterator[None]:
        """Read a study's trials once in the block, then only new ones and those that it writes to.

        What others write to trials that were read goes unseen until the block ends.
        """
        self._read = _Read(study_id)
        try:
            yield
        finally:
            self._read = None

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        read = self._read if self._read and self._read.study_id == study_id else None
        keeps_trials = bool(included_trial_ids) or trial_id_greater_than >= 0
        if read and read.last >= 0 and keeps_trials:
            included_trial_ids, trial_id_greater_than = read.changed, read.last
        trials = super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        if read:
            read.last = max([read.last, *(trial._trial_id for trial in trials)])
            read.changed.clear()
        return trials

    def note_change(self, trial_id: int) -> None:
        """Have a trial read again, since it was written to."""
        if self._read:
            self._read.changed.add(trial_id)


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapper(storage: ReadOnce, trial_id: int, *args: Any, **kwargs: Any) -> Any:
        storage.note_change(trial_id)
        return method(storage, trial_id, *args, **kwargs)

    return wrapper


for _name in dir(RDBStorage):
    if _name.startswith("set_trial_") or _name == "_set_trial_param":
        setattr(ReadOnce, _name, _noted(getattr(RDBStorage, _name)))
