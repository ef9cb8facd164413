"""What leaves a study: a schedule and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.errors import StudyError
from lrsearch.schedules import Clock, Schedule
from lrsearch.study import TrialRecord


@dataclass(frozen=True)
class Exported:
    """A trial's schedule, for use elsewhere.

    Args:
        schedule: what was trained.
        study: the study's name.
        trial: the trial's number.
        value: what the trial came to: the mean of its full runs.
        clock: of the run that it is exported for.
        losses: the validation losses of its full run, or what else `plateau` reads; empty for a
            task that does not give them.
        confirmed: what it came to on fresh seeds, if it was the best there.
        seeds: on how many it was trained in full; 0 if on none.
        known_from: the same in words.
    """

    schedule: Schedule
    study: str
    trial: int
    value: float
    clock: Clock
    losses: tuple[float, ...]
    confirmed: str | None = None
    seeds: int = 1
    known_from: str = "on one seed only"

    @property
    def total_steps(self) -> int:
        """Updates of the run that it is exported for."""
        return self.clock.total_steps

    @classmethod
    def of(cls, study: str, trial: TrialRecord, confirmed: str | None = None) -> Exported:
        """Return a trial's schedule, with where it comes from.

        Args:
            study: the study's name.
            trial: read with its epochs.
            confirmed: what it came to on fresh seeds, if it was the best there.

        Raises:
            StudyError: if the trial has no value.
        """
        if trial.schedule is None or trial.value is None:
            raise StudyError(f"trial {trial.number} has not been trained; choose another")
        return cls(
            schedule=trial.schedule,
            study=study,
            trial=trial.number,
            value=trial.value,
            clock=trial.clock,
            losses=tuple(trial.losses),
            confirmed=confirmed,
            seeds=len(trial.full_values),
            known_from=trial.known_from,
        )
