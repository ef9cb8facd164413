"""The one typed view of a trial, read in one place: what Optuna and our tables hold of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from lrsearch.errors import ScheduleError
from lrsearch.schedules import Clock, LrEvery, Schedule, same_curve, sketched
from lrsearch.search import Rung
from lrsearch.storage import FINISHED, EpochMetrics, Storage, read_metrics, trial_id_of
from lrsearch.study.results import Attribute, Constraint, TrialResult, result_fields
from lrsearch.study.spec import StudySpec

MAX_BASE_LR_DIFFERENCE = 0.05
"""Only schedules whose `base_lr` differ by less may be the same: all families come near it."""

MAX_POINTS = 300
"""More of a run are not drawn: they make a page slow and no clearer."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord(TrialResult):
    """A trial: what it came to (`TrialResult`), and what it trained.

    Args:
        params: the parameters that were suggested, by name.
        distributions: what they were suggested from, by name.
        schedule: what it trains; `None` until that is known.
        total_steps: updates of its full run, without a prepended warmup; 0 until that is known.
        lr_every: how often its rate changes.
        seed: of its first runs; each rung says what is added.
        given: whether its schedule was given and not searched.
        entry: in a confirmation, its schedule's index among those given.
        degenerate: whether its curve is all but zero; then nothing was trained.
        error: what it failed by, if it did.
        began: when it began.
        ended: when it ended.
        epochs: what it showed after each epoch, in the order in which they were trained; empty
            where a record was read without them.
    """

    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    schedule: Schedule | None
    total_steps: int
    lr_every: LrEvery
    seed: int
    given: bool
    entry: int | None
    degenerate: bool
    error: str | None
    began: datetime | None
    ended: datetime | None
    epochs: Sequence[EpochMetrics] = ()

    @property
    def by_epochs(self) -> dict[int, float]:
        """By so many epochs, what it came to: of full runs on several seeds their mean."""
        full = self.rungs[-1].epochs
        values = {epochs: value for epochs, value in self.reports.items() if epochs <= full}
        return values | ({full: self.mean} if self.mean is not None else {})

    @property
    def family(self) -> str:
        """The name of its schedule's family; "" until that is known."""
        return self.schedule.family.name if self.schedule else ""

    @property
    def base_lr(self) -> float:
        """Its schedule's upper bound of the learning rate; NaN until that is known."""
        return self.schedule.base_lr if self.schedule else math.nan

    @property
    def task_options(self) -> dict[str, Any]:
        """The values of the searched options of the task, by their names in the space."""
        return {name: value for name, value in self.params.items() if name.startswith("task.")}

    @property
    def clock(self) -> Clock:
        """The clock of its full run."""
        return self._clock(self.rungs[-1].epochs)

    @property
    def last_run(self) -> list[EpochMetrics]:
        """The epochs of its last run but for checks that stopped."""
        rows = [row for row in self.epochs if row.run not in self.stopped]
        return [row for row in rows if row.run == rows[-1].run]

    def course(self, name: str) -> list[tuple[int, float]]:
        """Return a metric over the updates of its last run: within the epochs where it is known.

        Such a point is the mean since the one before; without, and in a run that has many of them,
        an epoch has one, at its end.
        """
        whole = [(row.step, row.metrics) for row in self.last_run]
        within = [point for row in self.last_run for point in row.curve]
        few = len(within) <= MAX_POINTS and any(name in metrics for _, metrics in within)
        points = within if few else whole
        return [(step, metrics[name]) for step, metrics in points if name in metrics]

    @property
    def horizon(self) -> int:
        """The length of its last run in epochs; of the full run if it has trained none."""
        return self.rungs[self.last_run[-1].run if self.epochs else -1].epochs

    @cached_property
    def run_clock(self) -> Clock:
        """The clock of its last run."""
        return self._clock(self.horizon)

    def _clock(self, epochs: int) -> Clock:
        full = self.rungs[-1].epochs
        clock = Clock(self.total_steps * epochs // full, full, self.lr_every)
        return clock.prepended(self.schedule) if self.schedule else clock

    @property
    def losses(self) -> list[float]:
        """The validation losses of its last run, or what else its schedule reads (`plateau`)."""
        name = self.schedule.family.watches() if self.schedule else "val_loss"
        return [row.metrics[name] for row in self.last_run if name in row.metrics]

    def curve(self) -> tuple[list[int], list[float]]:
        """Return updates and learning rates of its last run, to be joined by straight lines."""
        assert self.schedule is not None, "only trials that have a schedule are drawn"
        clock, losses = self.run_clock, self.losses
        schedule = self.schedule
        return sketched(
            lambda step: clock.lr(schedule, step, clock.losses_before(step, losses)),
            clock.total_steps,
        )

    def same_as(self, other: TrialRecord) -> bool:
        """Return whether both train the same: one curve, one seed, the same options of the task."""
        if not (self.schedule and other.schedule) or self.schedule.adjusts:
            return False  # what it comes to is not known
        beside = (self.task_options, self.seed, self.clock)
        return beside == (other.task_options, other.seed, other.clock) and (
            self.schedule == other.schedule or same_curve(self.schedule, other.schedule, self.clock)
        )


def with_train(metric: str) -> list[str]:
    """Return what a metric is called on the training data, and its own name."""
    return [f"train_{metric.removeprefix('val_')}", metric]


_BEGUN = (TrialState.RUNNING, TrialState.WAITING)


def as_record(
    trial: FrozenTrial,
    spec: StudySpec,
    rungs: Sequence[Rung],
    epochs: Sequence[EpochMetrics] = (),
) -> TrialRecord:
    """Return the typed view of one of Optuna's trials.

    Args:
        trial: as Optuna has read it.
        spec: of its study.
        rungs: of its study.
        epochs: the trial's, if they are wanted.
    """
    attrs = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        id=trial_id_of(trial),
        state=trial.state,
        params=trial.params,
        distributions=trial.distributions,
        schedule=read_schedule(trial),
        total_steps=int(attrs.get(Attribute.TOTAL_STEPS, 0)),
        lr_every=attrs.get(Attribute.LR_EVERY) or _lr_every(trial, spec),
        rungs=rungs,
        seed=attrs.get(Attribute.SEED, spec.study.seed),
        final_value=float(trial.values[0]) if trial.state == TrialState.COMPLETE else None,
        reports=trial.intermediate_values,
        given=Attribute.GIVEN in attrs,
        entry=attrs.get(Attribute.ENTRY),
        degenerate=bool(attrs.get(Attribute.DEGENERATE)),
        error=attrs.get(Attribute.ERROR),
        began=trial.datetime_start,
        ended=trial.datetime_complete,
        epochs=epochs,
        **result_fields(attrs),
    )


def read_schedule(trial: FrozenTrial | Trial) -> Schedule | None:
    """Return the schedule that is stored with a trial; `None` if none is, or none can be read."""
    stored = trial.user_attrs.get(Attribute.SCHEDULE)
    try:
        return None if stored is None else Schedule.from_dict(stored)
    except ScheduleError:
        return None  # damaged; whoever trains it next says so, and the others are still read


def find_duplicate(trial: Trial, spec: StudySpec, rungs: Sequence[Rung]) -> TrialRecord | None:
    """Return a trial that has trained just what a trial that begins is to train.

    One that has ended; where trials climb rungs and wait in between, also one that has only begun.
    """
    trials = trial.study.get_trials(deepcopy=False)
    beginning = as_record(trials[trial.number], spec, rungs)
    for other in trials[: trial.number] if spec.climbs else trials:
        attrs = other.user_attrs
        if other.state not in FINISHED and not (spec.climbs and other.state in _BEGUN):
            continue
        if Attribute.SCHEDULE not in attrs or Attribute.DUPLICATE_OF in attrs:
            continue
        base_lr = attrs[Attribute.SCHEDULE].get("base_lr", math.nan)
        if not math.isclose(base_lr, beginning.base_lr, rel_tol=MAX_BASE_LR_DIFFERENCE):
            continue  # before anything more of it is read: there may be thousands
        if beginning.same_as(record := as_record(other, spec, rungs)):
            return record
    return None


def epochs_by_trial(
    storage: Storage, study_id: int, trials: Sequence[int] | None = None
) -> dict[int, list[EpochMetrics]]:
    """Return the epochs of some trials, or of all, by the trials' numbers."""
    rows = read_metrics(storage, study_id, trials)
    return {number: list(group) for number, group in groupby(rows, lambda row: row.trial)}


def _lr_every(trial: FrozenTrial, spec: StudySpec) -> LrEvery:
    """Return how often the rate changes, for trials from before that was kept with each."""
    options = {"lr_every": "update", **spec.task.options, **trial.params}
    every: LrEvery = options.get("task.lr_every", options["lr_every"])
    return every


def read_earlier(stored: list[dict[str, Any]]) -> list[FrozenTrial]:
    """Return stored trials of an earlier study as Optuna's."""
    return [
        create_trial(
            state=TrialState.PRUNED if each["value"] is None else TrialState.COMPLETE,
            value=each["value"],
            params=each["params"],
            distributions={
                name: json_to_distribution(text) for name, text in each["distributions"].items()
            },
            intermediate_values={int(step): value for step, value in each["reports"].items()},
            constraints={name: 1.0 for name in Constraint if each.get(name)} or None,
        )
        for each in stored
    ]
