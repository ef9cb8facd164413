"""What keeps a trial while it trains: its epochs in the storage, where it stands in a file."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from lrsearch.errors import StorageError
from lrsearch.storage import EpochMetrics, Lease, read_metrics, record_metrics
from lrsearch.study import Study
from lrsearch.worker.checkpoints import Checkpoints

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What keeps one trial, so that it can go on from there."""

    def load(self) -> tuple[int, dict[str, Any] | None]:
        """Return the run to go on with, from 0, and the state in it (`None`: from its start)."""
        ...

    def save(self, run: int, epoch: int, state: dict[str, Any] | None) -> None:
        """Keep where the trial stands: in a run, after an epoch of it (0: at its start)."""
        ...

    def record(self, row: EpochMetrics) -> None:
        """Keep what an epoch showed."""
        ...

    def rows(self) -> list[EpochMetrics]:
        """Return what the trial's epochs have shown, by run and epoch."""
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
        """Load the last checkpoint that can be used; one that cannot be read only costs time."""
        number = self.lease.number
        trained = {(row.run, row.epoch) for row in self.rows()}
        try:
            saved, left_out = self.checkpoints.load(number, trained)
        except StorageError as error:
            log.warning("trial %d begins without its checkpoints: %s", number, error)
            return 0, None
        for path in left_out:
            log.warning(
                "trial %d: checkpoint %s is damaged, or ahead of the database, and left out",
                number,
                path.name,
            )
        return (saved["run"], saved["state"]) if saved else (0, None)

    def save(self, run: int, epoch: int, state: dict[str, Any] | None) -> None:
        """Save a checkpoint; one that cannot be saved only costs time if the worker dies."""
        try:
            self.checkpoints.save(
                self.lease.number,
                self.lease.lease_id,
                {"run": run, "epoch": epoch, "state": state},
            )
        except StorageError as error:
            log.warning("trial %d goes on without: %s", self.lease.number, error)

    def record(self, row: EpochMetrics) -> None:
        """Store what an epoch showed."""
        record_metrics(self.study.storage, self.study.study_id, self.lease.worker_id, row)

    def rows(self) -> list[EpochMetrics]:
        """Read what is stored of the trial's epochs."""
        return read_metrics(self.study.storage, self.study.study_id, [self.lease.number])

    def transaction(self) -> AbstractContextManager[object]:
        """Make what is written in the block one transaction."""
        return self.study.storage.writing()
