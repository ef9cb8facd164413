"""A worker's trials: trained from their last checkpoint, and written only while the lease holds."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from lrsearch.checkpoints import Checkpoints
from lrsearch.errors import StorageError
from lrsearch.objective import Advance, Objective, Outcome
from lrsearch.storage import EpochMetrics, Lease, read_metrics, record_metrics
from lrsearch.study import Study

log = logging.getLogger(__name__)


class LeasedTrials:
    """Trains the trials that a worker has leased, and tells Optuna how they ended.

    Args:
        study: the study.
        worker_id: who trains, for the record.
        device: a torch device.
        advance: how to take the next progress of a run.
    """

    def __init__(self, study: Study, worker_id: str, device: str, advance: Advance) -> None:
        self.study = study
        self.worker_id = worker_id
        self.objective = Objective(study.spec, device, advance, study.horizons)
        self.checkpoints = Checkpoints(study.files / "checkpoints")

    def train(self, lease: Lease) -> None:
        """Train the leased trial to its end.

        Raises:
            LeaseLost: if another worker has taken the trial over; nothing has been written then.
            Exception: whatever the task raised; the trial is still running in the storage then.
        """
        with self.study.storage.guarded(lease.check):
            trial = self.study.trial(lease.trial_id, lease.number)
            self.finish(lease, trial, self.objective(trial, self.keeper(lease)))

    def keeper(self, lease: Lease) -> LeasedKeeper:
        """Return what keeps the progress of the leased trial."""
        return LeasedKeeper(self.study, self.checkpoints, self.worker_id, lease)

    def finish(self, lease: Lease, trial: optuna.Trial, outcome: Outcome) -> None:
        """Tell Optuna how the leased trial has ended, under the guard of its lease."""
        state, value = outcome
        self._keep_stability(trial)
        self.study.optuna.tell(lease.number, value, state)
        self.checkpoints.remove(lease.number)

    def fail(self, lease: Lease, message: str) -> None:
        """Record that the leased trial failed, and why."""
        with self.study.storage.guarded(lease.check):
            self.study.storage.set_trial_user_attr(lease.trial_id, "error", message)
            self.study.optuna.tell(lease.number, state=TrialState.FAIL)
        self.checkpoints.remove(lease.number)

    def _keep_stability(self, trial: optuna.Trial) -> None:
        """Keep the trial's largest gradient norm and loss jump, where its task measures them."""
        rows = read_metrics(self.study.storage, self.study.study_id, [trial.number])
        measured = [row.metrics for row in rows if "loss_jump" in row.metrics]
        if measured:
            worst = max(measured, key=lambda metrics: metrics["loss_jump"])
            kept = {name: worst[name] for name in ("loss_jump", "loss_jump_step")}
            kept["grad_norm"] = max(metrics["grad_norm"] for metrics in measured)
            trial.set_user_attr("stability", kept)


@dataclass(frozen=True)
class LeasedKeeper:
    """Keeps epochs in the study's storage and checkpoints in its files; see `Keeper`."""

    study: Study
    checkpoints: Checkpoints
    worker_id: str
    lease: Lease

    def load(self) -> tuple[int, dict[str, Any] | None]:
        """Load the last checkpoint that can be read."""
        kept, damaged = self.checkpoints.load(self.lease.number)
        for path in damaged:
            name = path.name
            log.warning("trial %d: checkpoint %s is damaged and left out", self.lease.number, name)
        return (kept["run"], kept["state"]) if kept else (0, None)

    def save(self, run: int, state: dict[str, Any] | None) -> None:
        """Save a checkpoint; one that cannot be saved only costs time if the worker dies."""
        kept = {"run": run, "state": state}
        try:
            self.checkpoints.save(self.lease.number, self.lease.lease_id, kept)
        except StorageError as error:
            log.warning("trial %d goes on without: %s", self.lease.number, error)

    def record(self, row: EpochMetrics) -> None:
        """Store what an epoch showed."""
        record_metrics(self.study.storage, self.study.study_id, self.worker_id, row)

    def together(self) -> AbstractContextManager[object]:
        """Make what is written in the block one transaction."""
        return self.study.storage.writing()
