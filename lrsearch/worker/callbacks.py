"""Callbacks: what is told of a search while it runs, such as a tracker or a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lrsearch.storage import EpochMetrics
from lrsearch.study import Study, TrialRecord
from lrsearch.tasks import load_attribute

log = logging.getLogger(__name__)


class Callback(Protocol):
    """What a worker tells of a study while it trains it, in the worker's process.

    A study file names what makes one of the study: `[workers] callbacks = ["module:factory"]`.

    Example:
        >>> class Printer:
        ...     def __init__(self, study):
        ...         self.metric = study.spec.study.metric
        ...
        ...     def epoch(self, row):
        ...         print(row.trial, row.run, row.epoch, row.lr, row.metrics[self.metric])
        ...
        ...     def trial(self, record):
        ...         print(record.number, record.outcome, record.value)
        ...
        ...     def close(self):
        ...         pass
    """

    def epoch(self, row: EpochMetrics) -> None:
        """Hear of an epoch that a trial has trained, right after it was stored."""
        ...

    def trial(self, record: TrialRecord) -> None:
        """Hear of a trial that is over: complete, pruned, diverged or failed."""
        ...

    def close(self) -> None:
        """Hear that the worker leaves."""
        ...


Factory = Callable[[Study], Callback]
"""Makes a callback of the study that a worker trains."""


class Callbacks:
    """The callbacks of a worker; one that raises is logged, and the search goes on.

    Args:
        study: the study.
        factories: make them.
    """

    def __init__(self, study: Study, factories: Sequence[Factory] = ()) -> None:
        self.study = study
        self._callbacks = [factory(study) for factory in factories]

    @classmethod
    def of(cls, study: Study, more: Sequence[Factory] = ()) -> Callbacks:
        """Return those that the study names, and more.

        Raises:
            TaskError: if one cannot be imported.
        """
        named = [load_attribute(path) for path in study.spec.workers.callbacks]
        return cls(study, [*named, *more])

    def epoch(self, row: EpochMetrics) -> None:
        """Tell them of an epoch."""
        for callback in self._callbacks:
            with _surviving(callback):
                callback.epoch(row)

    def trial(self, number: int) -> None:
        """Tell them that the trial of that number is over."""
        for callback in self._callbacks:
            with _surviving(callback):
                callback.trial(self.study.record(number))

    def close(self) -> None:
        """Tell them that the worker leaves."""
        for callback in self._callbacks:
            with _surviving(callback):
                callback.close()


@contextmanager
def _surviving(callback: Callback) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        name = type(callback).__name__
        log.warning("the callback %s failed: %s: %s", name, type(error).__name__, error)
