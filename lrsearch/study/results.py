"""What a trial came to, which counts and ranks it; `TrialRecord` also says what it trained."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from statistics import fmean, median
from typing import Any, NamedTuple, TypeVar

from optuna.trial import TrialState

from lrsearch.search import Rung, values_in_full
from lrsearch.storage import FAILED_TO_TRAIN, FINISHED, Sketch
from lrsearch.tasks import JUMP, WELL, has_fallen, is_near


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
    FAILED_TO_TRAIN = FAILED_TO_TRAIN
    """Whether the last of its runs ended no better than a guess."""
    BASELINE = "baseline"
    """The loss that its runs must beat to have learned, where its task says."""
    STABILITY = "stability"
    """`{grad_norm, loss_jump, loss_jump_step}`: the largest of all its epochs; `loss`, its last;
    `baseline`, as above."""
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
    is the validation loss after the last epoch, where there is one; `baseline` what it had to beat.
    """

    grad_norm: float
    loss_jump: float
    loss_jump_step: int
    loss: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial came to.

    Args:
        number: Optuna's number, from 0.
        id: Optuna's id, which leases refer to.
        state: Optuna's state.
        rungs: its runs: horizons, then the full run on seeds.
        final_value: its value, if it is complete.
        reports: by Optuna's step, the values that it has reported; at least the last, and those
            that end a run.
        duplicate_of: the trial whose result it has, where its curve is the same.
        diverged: where it did, if it did.
        failed_to_train: whether the last of its runs ended no better than a guess.
        stability: how stable training was, where its task measures that.
    """

    number: int
    id: int
    state: TrialState
    rungs: Sequence[Rung]
    final_value: float | None
    reports: Mapping[int, float]
    duplicate_of: int | None
    diverged: Divergence | None
    failed_to_train: bool
    stability: Stability | None

    @property
    def complete(self) -> bool:
        """Whether it has ended and was trained in full, or has the result of one that was."""
        return self.state == TrialState.COMPLETE

    @cached_property
    def full_values(self) -> tuple[float, ...]:
        """What it came to on each full run that it has trained, one for each seed."""
        if self.infeasible:
            return ()
        values = values_in_full(self.reports, self.rungs)
        return values or (() if self.final_value is None else (self.final_value,))

    @cached_property
    def stopped(self) -> frozenset[int]:
        """Which of its runs are checks that stopped, since they were seen to hold."""
        return frozenset(
            run
            for run, rung in enumerate(self.rungs)
            if rung.check and math.isnan(self.reports.get(rung.step, 0.0))
        )

    @cached_property
    def mean(self) -> float | None:
        """The mean of its full runs; none if it has trained none, or is infeasible."""
        return fmean(self.full_values) if self.full_values else None

    @property
    def known_from(self) -> str:
        """What its value is known from: full runs on so many seeds, or a shorter run only.

        And on how many more seeds its runs were seen to hold, and stopped.
        """
        seeds, held = len(self.full_values), len(self.stopped)
        if seeds > 1 or held:
            known = f"mean of {seeds} seeds" if seeds > 1 else "on one seed"
            return f"{known}, holds on {held} more" if held else known
        if seeds or not self.reports:
            return "on one seed only"
        return f"after {max(self.reports)} of {self.rungs[-1].epochs} epochs on one seed only"

    @property
    def finished(self) -> bool:
        """Whether it counts towards the budget: complete or pruned."""
        return self.state in FINISHED

    @cached_property
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

    @cached_property
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
    def last_length(self) -> int:
        """The epochs of the last of its runs that it has reported of; 0 if of none."""
        ended = [rung.epochs for rung in self.rungs if rung.step in self.reports]
        return ended[-1] if ended else max(self.reports, default=0)


Result = TypeVar("Result", bound=TrialResult)

_OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


RESULT_ATTRIBUTES = (
    Attribute.DUPLICATE_OF,
    Attribute.DIVERGED,
    Attribute.FAILED_TO_TRAIN,
    Attribute.STABILITY,
)
"""The attributes that a result is read from."""


def as_result(sketch: Sketch, rungs: Sequence[Rung]) -> TrialResult:
    """Return what a trial came to, of what is stored.

    Args:
        sketch: with its reports at the steps of the rungs, and `RESULT_ATTRIBUTES`.
        rungs: of its study.
    """
    return TrialResult(
        number=sketch.number,
        id=sketch.trial_id,
        state=sketch.state,
        rungs=rungs,
        final_value=sketch.value if sketch.state == TrialState.COMPLETE else None,
        reports=sketch.reports,
        **result_fields(sketch.attributes),
    )


def result_fields(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a result that a trial's attributes hold."""
    diverged = attributes.get(Attribute.DIVERGED)
    stability = attributes.get(Attribute.STABILITY)
    return {
        "duplicate_of": attributes.get(Attribute.DUPLICATE_OF),
        "diverged": Divergence(**diverged) if diverged else None,
        "failed_to_train": bool(attributes.get(Attribute.FAILED_TO_TRAIN)),
        "stability": Stability(**stability) if stability else None,
    }


def ranked(trials: Iterable[Result], *, maximize: bool) -> list[Result]:
    """Return the trials that have a value, the best first.

    Those trained in full go first, by their mean; then the others, by how long a run they came to
    and by its value: so long as none is trained in full, the best of these is all that is known.
    """
    sign = -1 if maximize else 1

    def place(trial: TrialResult) -> tuple[bool, int, float]:
        in_full = trial.mean is not None
        horizon = 0 if in_full else -max(trial.reports, default=0)
        return not in_full, horizon, sign * (trial.value or 0.0)

    return sorted((trial for trial in trials if trial.value is not None), key=place)


def recovered(records: Sequence[Result]) -> list[Result]:
    """Return the trials that were unstable but recovered; evaluations each epoch miss these.

    The loss of such a trial jumped in one of its runs. After its last run it lies well below where
    it began, and near (`is_near`) the middle of the trials whose last run was as long.
    """
    by_length: dict[int, list[float]] = defaultdict(list)
    jumped = []
    for record in records:
        stability = record.stability
        if record.infeasible or stability is None or stability.loss is None:
            continue
        by_length[record.last_length].append(stability.loss)
        began = stability.baseline
        if stability.loss_jump > JUMP and (
            began is None or has_fallen(stability.loss, began, share=WELL)
        ):
            jumped.append((record, stability.loss))
    return [r for r, loss in jumped if is_near(loss, median(by_length[r.last_length]))]
