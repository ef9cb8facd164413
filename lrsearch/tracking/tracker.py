"""What trackers share: which runs are open, what each is called and was made of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lrsearch.errors import LrsearchError
from lrsearch.storage import EpochMetrics
from lrsearch.study import Study, TrialRecord


class Tracker:
    """Opens a run of a tracker for each run of a trial, and closes it where that ends.

    Args:
        study: the study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._open: dict[tuple[int, int], Any] = {}

    def begin(self, name: str, parameters: dict[str, Any]) -> Any:
        """Open a run there, or one that was interrupted again, and return it."""
        raise NotImplementedError

    def log(self, run: Any, values: dict[str, float], step: int) -> None:
        """Log the values after an update."""
        raise NotImplementedError

    def end(self, run: Any) -> None:
        """Close a run."""
        raise NotImplementedError

    def epoch(self, row: EpochMetrics) -> None:
        """Log an epoch."""
        key = row.trial, row.run
        if key not in self._open:
            record = self.study.record(row.trial)
            self.trial(record)
            schedule = record.schedule.to_dict() if record.schedule else {}
            rung = self.study.rungs[row.run]
            about = {"epochs": rung.epochs, "seed": record.seed + rung.seed}
            shown = {**about, **_flat(schedule), **record.task_options}
            self._open[key] = self.begin(f"trial-{row.trial:04}-run-{row.run}", shown)
        self.log(self._open[key], {"lr": row.lr, **row.metrics}, row.step)
        if row.epoch == self.study.rungs[row.run].epochs:
            self.end(self._open.pop(key))

    def trial(self, record: TrialRecord) -> None:
        """Close what a trial has left open: one that is over, or whose check has stopped."""
        for key in [key for key in self._open if key[0] == record.number]:
            self.end(self._open.pop(key))

    def close(self) -> None:
        """Close all that is open; another worker may go on with it."""
        for run in self._open.values():
            self.end(run)
        self._open.clear()


def library(name: str, install: str) -> Any:
    """Import a tracker's library.

    Raises:
        LrsearchError: if it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise LrsearchError(
            f"the tracker needs {name}: pip install {install}, or leave it out of workers.callbacks"
        ) from None


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat
