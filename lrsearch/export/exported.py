"""What leaves a study: a schedule and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import FrozenTrial

from lrsearch.schedules import Schedule
from lrsearch.storage import read_metrics
from lrsearch.study import Study, schedule_of


@dataclass(frozen=True)
class Exported:
    """A trial's schedule.

    `losses` are the validation losses of its full run, which `plateau` reads; empty for a task
    that gives no `val_loss`.
    """

    schedule: Schedule
    study: str
    trial: int
    value: float
    total_steps: int
    losses: tuple[float, ...]


def exported(study: Study, number: int | None = None) -> Exported:
    """Return the schedule of the best trial, or of the complete trial of that number.

    Raises:
        StudyError: if there is no such trial.
    """
    trial: FrozenTrial = study.best_trial() if number is None else study.complete_trial(number)
    rows = read_metrics(study.storage, study.study_id, trial.number)
    last_run = max((row.run for row in rows), default=0)
    return Exported(
        schedule=schedule_of(trial),
        study=study.name,
        trial=trial.number,
        value=float(trial.values[0]),
        total_steps=int(trial.user_attrs["total_steps"]),
        losses=tuple(
            row.metrics["val_loss"]
            for row in rows
            if row.run == last_run and "val_loss" in row.metrics
        ),
    )
