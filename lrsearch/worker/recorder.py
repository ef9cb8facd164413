"""What keeps a trial while it trains: its epochs in the storage, where it stands in a file."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from lrsearch.errors import StorageError
from lrsearch.storage import EpochMetrics, Lease, record_metrics
from lrsearch.study import Study
from lrsearch.worker.checkpoints import Checkpoints

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What keeps one trial, so that it can go on from there."""

    def load(self) -> tuple[int, dict[str, Any] | None]:
        """Return the run to go on with, from 0, and the state in it (`None`: from its start)."""
        ...

    def save(self, run: int, state: dict[str, Any] | None) -> None:
        """Keep where the trial stands."""
        ...

    def record(self, row: EpochMetrics) -> None:
        """Keep what an epoch showed."""
        ...

    def transaction(self) -> AbstractContextManager[object]:
        """Make all that is written in a block one transaction."""
        ...


@dataclass(frozen=True)
class TrialRecorder:
    """Keeps a leased trial: epochs in the study's storage, checkpoints in its files."""

    study: Study
    checkpoints: Checkpoints
    lease: Lease

    def load(self) -> tuple[int, dict[str, Any] | None]:
        """Load the last checkpoint that can be read."""
        saved, damaged = self.checkpoints.load(self.lease.number)
        for path in damaged:
            name = path.name
            log.warning("trial %d: checkpoint %s is damaged and left out", self.lease.number, name)
        return (saved["run"], saved["state"]) if saved else (0, None)

    def save(self, run: int, state: dict[str, Any] | None) -> None:
        """Save a checkpoint; one that cannot be saved only costs time if the worker dies."""
        try:
            self.checkpoints.save(
                self.lease.number, self.lease.lease_id, {"run": run, "state": state}
            )
        except StorageError as error:
            log.warning("trial %d goes on without: %s", self.lease.number, error)

    def record(self, row: EpochMetrics) -> None:
        """Store what an epoch showed."""
        record_metrics(self.study.storage, self.study.study_id, self.lease.worker_id, row)

    def transaction(self) -> AbstractContextManager[object]:
        """Make what is written in the block one transaction."""
        return self.study.storage.writing()
