"""The one typed view of a trial, read in one place: what Optuna and our tables hold of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from statistics import fmean, median
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from lrsearch.schedules import Clock, LrEvery, Schedule, same_curve, sketched
from lrsearch.search import Rung, values_in_full
from lrsearch.storage import FINISHED, EpochMetrics, Storage, read_metrics, trial_id_of
from lrsearch.study.spec import StudySpec
from lrsearch.tasks import JUMP, is_near

MAX_BASE_LR_DIFFERENCE = 0.05
"""Only schedules whose `base_lr` differ by less may be the same: all families come near it."""

MAX_POINTS = 300
"""More of a run are not drawn: they make a page slow and no clearer."""


class Attribute:
    """The user attributes in which lrsearch keeps what Optuna does not know of a trial."""

    SCHEDULE = "schedule"
    """The schedule's JSON form."""
    TOTAL_STEPS = "total_steps"
    """Updates of the full run."""
    LR_EVERY = "lr_every"
    """Whether the rate changes with every "update" or once an "epoch"."""
    GIVEN = "given"
    """The JSON form of a schedule that was given and not searched."""
    ENTRY = "entry"
    """In a confirmation, the schedule's index among those given."""
    SEED = "seed"
    """The seed, where it is not the study's."""
    DUPLICATE_OF = "twin"
    """The number of the trial whose result it has, where its curve is the same."""
    DEGENERATE = "degenerate"
    """True where its curve is all but zero, and nothing was trained."""
    DIVERGED = "diverged"
    """`{run, epoch, step, lr}`: where its loss was no longer finite."""
    FAILED_TO_TRAIN = "failed_to_train"
    """Whether the last of its runs ended no better than a guess."""
    STABILITY = "stability"
    """`{grad_norm, loss_jump, loss_jump_step}`: the largest of all its epochs; `loss`, its last."""
    ERROR = "error"
    """What it failed by."""


class Constraint(StrEnum):
    """What a trial may break; then samplers rank it last. In Optuna a value above 0 breaks it."""

    DIVERGED = "diverged"
    """Its loss was no longer finite."""
    FAILED_TO_TRAIN = "failed_to_train"
    """The last of its runs ended no better than a guess, or its curve is all but zero."""


class Divergence(NamedTuple):
    """Where a trial diverged: its run, the epoch in it, the update and that update's rate."""

    run: int
    epoch: int
    step: int
    lr: float


class Stability(NamedTuple):
    """A trial's largest gradient norm, and the largest rise of its loss from batch to batch.

    The rise is that above the lowest so far (`lrsearch.tasks.rises`); `step` is its update. `loss`
    is the validation loss after the last epoch, where there is one.
    """

    grad_norm: float
    loss_jump: float
    loss_jump_step: int
    loss: float | None = None


@dataclass(frozen=True)
class TrialRecord:
    """A trial.

    Args:
        number: Optuna's number, from 0.
        id: Optuna's id, which leases refer to.
        state: Optuna's state.
        params: the parameters that were suggested, by name.
        distributions: what they were suggested from, by name.
        schedule: what it trains; `None` until that is known.
        total_steps: updates of its full run, without a prepended warmup; 0 until that is known.
        lr_every: how often its rate changes.
        rungs: its runs: horizons, then the full run on seeds.
        seed: of its first runs; each rung says what is added.
        final_value: its value, if it is complete.
        reports: by Optuna's step, the values that it has reported.
        given: whether its schedule was given and not searched.
        entry: in a confirmation, its schedule's index among those given.
        duplicate_of: the trial whose result it has, where its curve is the same.
        degenerate: whether its curve is all but zero; then nothing was trained.
        diverged: where it did, if it did.
        failed_to_train: whether the last of its runs ended no better than a guess.
        stability: how stable training was, where its task measures that.
        error: what it failed by, if it did.
        began: when it began.
        ended: when it ended.
        epochs: what it showed after each epoch, in the order in which they were trained; empty
            where a record was read without them.
    """

    number: int
    id: int
    state: TrialState
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    schedule: Schedule | None
    total_steps: int
    lr_every: LrEvery
    rungs: Sequence[Rung]
    seed: int
    final_value: float | None
    reports: Mapping[int, float]
    given: bool
    entry: int | None
    duplicate_of: int | None
    degenerate: bool
    diverged: Divergence | None
    failed_to_train: bool
    stability: Stability | None
    error: str | None
    began: datetime | None
    ended: datetime | None
    epochs: Sequence[EpochMetrics] = ()

    @property
    def complete(self) -> bool:
        """Whether it has ended and was trained in full, or has the result of one that was."""
        return self.state == TrialState.COMPLETE

    @property
    def full_values(self) -> tuple[float, ...]:
        """What it came to on each full run that it has trained, one for each seed."""
        if self.infeasible:
            return ()
        found = values_in_full(self.reports, self.rungs)
        return found or (() if self.final_value is None else (self.final_value,))

    @property
    def mean(self) -> float | None:
        """The mean of its full runs; none if it has trained none, or is infeasible."""
        return fmean(self.full_values) if self.full_values else None

    @property
    def known_from(self) -> str:
        """What its value is known from: full runs on so many seeds, or a shorter run only."""
        if (seeds := len(self.full_values)) > 1:
            return f"mean of {seeds} seeds"
        if seeds or not self.reports:
            return "on one seed only"
        return f"after {max(self.reports)} of {self.rungs[-1].epochs} epochs on one seed only"

    @property
    def finished(self) -> bool:
        """Whether it counts towards the budget: complete or pruned."""
        return self.state in FINISHED

    @property
    def by_epochs(self) -> dict[int, float]:
        """By so many epochs, what it came to: of full runs on several seeds their mean."""
        full = self.rungs[-1].epochs
        values = {epochs: value for epochs, value in self.reports.items() if epochs <= full}
        return values | ({full: self.mean} if self.mean is not None else {})

    @property
    def outcome(self) -> str:
        """How it ended: complete, pruned, diverged, failed to train, failed; running or waiting.

        One that may yet go on counts by what it has trained so far: in full, or on a short horizon.
        """
        if self.diverged:
            return "diverged"
        if self.failed_to_train and self.state != TrialState.RUNNING:
            return "failed to train"
        if self.full_values:
            return "complete"
        if self.state == TrialState.WAITING and self.reports:
            return "pruned"
        return _OUTCOMES[self.state]

    @property
    def value(self) -> float | None:
        """What trials are compared by: its mean, or the last it reported; none if infeasible."""
        if self.infeasible:
            return None
        if self.mean is not None:
            return self.mean
        return self.reports[max(self.reports)] if self.reports else None

    @property
    def infeasible(self) -> bool:
        """Whether it diverged or failed to train: it ranks last, and is never handed over."""
        return self.diverged is not None or self.failed_to_train

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
        """The epochs of its last run."""
        return [row for row in self.epochs if row.run == self.epochs[-1].run]

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
    def last_length(self) -> int:
        """The epochs of the last of its runs that it has reported of; 0 if of none."""
        ended = [rung.epochs for rung in self.rungs if rung.step in self.reports]
        return ended[-1] if ended else max(self.reports, default=0)

    @property
    def horizon(self) -> int:
        """The length of its last run in epochs; of the full run if it has trained none."""
        return self.rungs[self.epochs[-1].run if self.epochs else -1].epochs

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


_BEGUN = (TrialState.RUNNING, TrialState.WAITING)
_OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


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
    schedule = attrs.get(Attribute.SCHEDULE)
    diverged = attrs.get(Attribute.DIVERGED)
    stability = attrs.get(Attribute.STABILITY)
    return TrialRecord(
        number=trial.number,
        id=trial_id_of(trial),
        state=trial.state,
        params=trial.params,
        distributions=trial.distributions,
        schedule=Schedule.from_dict(schedule) if schedule else None,
        total_steps=int(attrs.get(Attribute.TOTAL_STEPS, 0)),
        lr_every=attrs.get(Attribute.LR_EVERY) or _lr_every(trial, spec),
        rungs=rungs,
        seed=attrs.get(Attribute.SEED, spec.study.seed),
        final_value=float(trial.values[0]) if trial.state == TrialState.COMPLETE else None,
        reports=trial.intermediate_values,
        given=Attribute.GIVEN in attrs,
        entry=attrs.get(Attribute.ENTRY),
        duplicate_of=attrs.get(Attribute.DUPLICATE_OF),
        degenerate=bool(attrs.get(Attribute.DEGENERATE)),
        diverged=Divergence(**diverged) if diverged else None,
        failed_to_train=bool(attrs.get(Attribute.FAILED_TO_TRAIN)),
        stability=Stability(**stability) if stability else None,
        error=attrs.get(Attribute.ERROR),
        began=trial.datetime_start,
        ended=trial.datetime_complete,
        epochs=epochs,
    )


def ranked(trials: Iterable[TrialRecord], *, maximize: bool) -> list[TrialRecord]:
    """Return the trials that have a value, the best first.

    Those trained in full go first, by their mean; then the others, by how long a run they came to
    and by its value: so long as none is trained in full, the best of these is all that is known.
    """
    sign = -1 if maximize else 1

    def place(trial: TrialRecord) -> tuple[bool, int, float]:
        in_full = trial.mean is not None
        horizon = 0 if in_full else -max(trial.reports, default=0)
        return not in_full, horizon, sign * (trial.value or 0.0)

    return sorted((trial for trial in trials if trial.value is not None), key=place)


def recovered(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that were unstable but recovered; evaluations each epoch miss these.

    The loss of such a trial jumped in one of its runs, and after its last run it has learned and
    lies near (`is_near`) the middle of the trials whose last run was as long.
    """
    by_length: dict[int, list[float]] = defaultdict(list)
    jumped = []
    for record in records:
        stability = record.stability
        if record.infeasible or stability is None or stability.loss is None:
            continue
        by_length[record.last_length].append(stability.loss)
        if stability.loss_jump > JUMP:
            jumped.append((record, stability.loss))
    return [r for r, loss in jumped if is_near(loss, median(by_length[r.last_length]))]


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
        base_lr = other.user_attrs[Attribute.SCHEDULE]["base_lr"]
        if not math.isclose(base_lr, beginning.base_lr, rel_tol=MAX_BASE_LR_DIFFERENCE):
            continue  # before anything of it is read: there may be thousands
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
