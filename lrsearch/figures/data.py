"""What figures show of a study, read from its storage once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from lrsearch.schedules import Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage import EpochMetrics, read_metrics
from lrsearch.storage.tables import leases, workers
from lrsearch.study import Study, value_of

_OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class TrialData:
    """A trial that has its schedule, with its epochs in the order in which they were trained."""

    optuna: FrozenTrial
    epochs: Sequence[EpochMetrics]
    horizons: Sequence[int]
    """The epochs of each of its runs; the last is the full run."""

    @property
    def number(self) -> int:
        """Optuna's number of the trial."""
        return self.optuna.number

    @property
    def family(self) -> str:
        """The name of its schedule's family."""
        return str(self.optuna.user_attrs["schedule"]["schedule"])

    @property
    def base_lr(self) -> float:
        """Its schedule's upper bound of the learning rate."""
        return float(self.optuna.user_attrs["schedule"]["base_lr"])

    @property
    def total_steps(self) -> int:
        """Updates in its full run."""
        return int(self.optuna.user_attrs["total_steps"])

    @property
    def diverged(self) -> dict[str, Any] | None:
        """Where it diverged (epoch, step, lr), if it did."""
        found: dict[str, Any] | None = self.optuna.user_attrs.get("diverged")
        return found

    @property
    def outcome(self) -> str:
        """How it ended: complete, pruned, diverged, failed; or running."""
        return "diverged" if self.diverged else _OUTCOMES[self.optuna.state]

    @property
    def value(self) -> float | None:
        """What trials are compared by: its value, or the last it reported; none if it diverged."""
        return None if self.diverged else value_of(self.optuna)

    @cached_property
    def schedule(self) -> Schedule:
        """Its schedule."""
        return Schedule.from_dict(self.optuna.user_attrs["schedule"])

    @property
    def last_run(self) -> list[EpochMetrics]:
        """The epochs of its last run."""
        return [row for row in self.epochs if row.run == self.epochs[-1].run]

    @property
    def horizon(self) -> int:
        """The length of its last run in epochs."""
        return self.horizons[self.epochs[-1].run if self.epochs else -1]

    @property
    def run_steps(self) -> int:
        """The length of its last run in updates."""
        return self.total_steps * self.horizon // self.horizons[-1]

    @property
    def reported(self) -> list[tuple[int, float]]:
        """The updates after which its last run reported a value, and the values."""
        step_of = {row.epoch: row.step for row in self.last_run}
        if len(self.horizons) > 1:
            step_of = {self.horizon: self.run_steps}
        values = self.optuna.intermediate_values.items()
        return [(step_of[epoch], value) for epoch, value in values if epoch in step_of]

    def curve(self, points: int = 100) -> tuple[list[int], list[float]]:
        """Return steps and learning rates of its last run, at most so many, evenly spread."""
        total = self.run_steps
        losses = [row.metrics["val_loss"] for row in self.last_run if "val_loss" in row.metrics]
        count = min(points, total)
        steps = [round(i * (total - 1) / max(1, count - 1)) for i in range(count)]
        rates = [self.schedule.lr(t, total, losses[: t * len(losses) // total]) for t in steps]
        return steps, rates


@dataclass(frozen=True)
class Held:
    """A worker's hold of a trial; times in seconds since 1970, `ended` none while it lasts."""

    worker: str
    trial: int
    begun: float
    ended: float | None


@dataclass(frozen=True)
class StudyData:
    """A study as figures see it; each figure is a function of one."""

    name: str
    spec: StudySpec
    horizons: Sequence[int]
    trials: Sequence[TrialData]
    held: Sequence[Held]

    @property
    def metric(self) -> str:
        """The name of what trials are compared by."""
        return self.spec.study.metric

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.spec.study.direction == "maximize"

    @cached_property
    def ranked(self) -> list[TrialData]:
        """The complete trials, best first."""
        complete = [trial for trial in self.trials if trial.outcome == "complete"]
        return sorted(complete, key=lambda trial: trial.optuna.values[0], reverse=self.maximize)

    @cached_property
    def valued(self) -> list[TrialData]:
        """The finished trials that have a value: complete ones and pruned ones."""
        ended = ("complete", "pruned")
        return [t for t in self.trials if t.outcome in ended and t.value is not None]

    @cached_property
    def families(self) -> list[str]:
        """The families that have trials, the one with the best trial first."""
        found = {trial.family for trial in self.trials}
        return list(dict.fromkeys([t.family for t in self.ranked] + sorted(found)))

    def saved(self, trial: TrialData) -> int:
        """Return how many epochs of a full run a trial did not take, or (negative) took beside."""
        ended = trial.outcome in ("complete", "pruned")
        return (self.horizons[-1] - len(trial.epochs)) * ended


def read_data(study: Study) -> StudyData:
    """Read what figures show of a study."""
    rows = read_metrics(study.storage, study.study_id)
    epochs = {number: list(group) for number, group in groupby(rows, lambda row: row.trial)}
    found = study.optuna.get_trials(deepcopy=False)
    return StudyData(
        name=study.name,
        spec=study.spec,
        horizons=study.horizons,
        trials=[
            TrialData(trial, epochs.get(trial.number, []), study.horizons)
            for trial in found
            if "schedule" in trial.user_attrs
        ],
        held=_read_held(study, {trial._trial_id: trial.number for trial in found}),
    )


def _read_held(study: Study, numbers: dict[int, int]) -> list[Held]:
    query = (
        select(leases, workers.c.host, workers.c.pid, workers.c.device)
        .join(workers, workers.c.worker_id == leases.c.worker_id)
        .where(leases.c.study_id == study.study_id)
        .order_by(leases.c.begun)
    )
    with study.storage.reading() as connection:
        rows = connection.execute(query).all()
    return [
        Held(f"{row.host}:{row.pid} {row.device}", numbers[row.trial_id], row.begun, row.ended)
        for row in rows
        if row.trial_id in numbers
    ]
