"""What leaves a study: the whole winner, which is more than its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.errors import StudyError
from lrsearch.schedules import Clock, Schedule, format_value
from lrsearch.study import Answer, Confirmed, Study


@dataclass(frozen=True)
class Exported:
    """A trial's schedule, for use elsewhere, with all that it was found with.

    Args:
        schedule: what was trained.
        study: the study's name.
        trial: the trial's number.
        value: what the trial came to: the mean of its full runs.
        clock: of the run that it is exported for.
        losses: the validation losses of its full run, or what else `plateau` reads; empty for a
            task that does not give them.
        metric: what `value` measures.
        seeds: on how many it was trained in full; 0 if on none.
        expected: what it is expected to come to on other seeds, and `error` half the 95 % interval.
        error: see `expected`.
        known_from: what the value is known from, in words.
        confirmed: what it came to on fresh seeds, if it was the best there.
        settings: of the task it was found with: optimizer, batch size and the like.
        found_with: the updates of the run it was found with, if those are not the clock's.
        data: the checksum of the data, where the task gives one.
        versions: of the packages the study was made with, by name.
    """

    schedule: Schedule
    study: str
    trial: int
    value: float
    clock: Clock
    losses: tuple[float, ...]
    metric: str = "value"
    seeds: int = 1
    expected: float | None = None
    error: float | None = None
    known_from: str = "on one seed only"
    confirmed: Confirmed | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    found_with: int | None = None
    data: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """Updates of the run that it is exported for."""
        return self.clock.total_steps

    @classmethod
    def of(cls, study: Study, answer: Answer) -> Exported:
        """Return what a study hands over, whole.

        Args:
            study: where it was found.
            answer: which trial, and how sure we are of it.

        Raises:
            StudyError: if the trial has not been trained.
            ScheduleError: if its warmup is adjusted as it trains, and not over.
        """
        trial = answer.trial
        if trial.schedule is None:
            raise StudyError(f"trial {trial.number} has not been trained; choose another")
        trial.schedule.check_settled()
        return cls(
            schedule=trial.schedule,
            study=study.name,
            trial=trial.number,
            value=answer.value,
            clock=trial.clock,
            losses=tuple(trial.losses),
            metric=answer.metric,
            seeds=answer.seeds,
            expected=answer.expected,
            error=answer.error,
            known_from=answer.known_from,
            confirmed=answer.confirmed,
            settings=study.settings(trial),
            data=study.data_checksum,
            versions=study.versions,
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """All of the winner beside the study's name, each with its name, for people."""
        schedule, found_with = self.schedule, self.found_with or self.total_steps
        rows = [("schedule", schedule.family.name), ("base_lr", format_value(schedule.base_lr))]
        if schedule.warmup:
            rows += [
                (f"warmup.{name}", format_value(value))
                for name, value in schedule.warmup.to_dict().items()
            ]
        params = schedule.to_dict()["params"].items()
        rows += [(name, format_value(value)) for name, value in params]
        rows += [(name, _shown(value)) for name, value in self.settings.items()]
        rows.append((self.metric, self._known))
        if self.confirmed:
            rows.append(("confirmed", self.confirmed.summary))
            if self.confirmed.better:
                rows.append(("better there", "; ".join(self.confirmed.better)))
            if self.confirmed.tied:
                rows.append(("cannot be told apart", ", ".join(self.confirmed.tied)))
        every = self.clock.lr_every
        rows.append(
            (
                "found with",
                f"{self.clock.parts} epochs, {found_with} updates; the rate changes every {every}",
            )
        )
        rows += [("data", self.data)] if self.data else []
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return [*rows, ("versions", versions)] if versions else rows

    @property
    def _known(self) -> str:
        known = f"{self.value:g}, {self.known_from}"
        if self.expected is None:
            return known
        return f"{known}; {self.expected:.4f} ± {self.error:.4f} on others (95 %)"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        rest = {key: inner for key, inner in value.items() if key != "name"}
        options = ", ".join(f"{key} {_shown(inner)}" for key, inner in rest.items())
        return f"{value.get('name', '')} ({options})".strip() if options else str(value["name"])
    return "none" if value is None else format_value(value)
