"""Horizons: a trial trains its whole schedule compressed first, and goes on if it is good.

At the same epoch of one long run, a schedule that is still at a high rate looks worse than it will
be. A whole schedule on a shorter horizon has come to its end there, so values are comparable. The
rule of promotion is that of ASHA (Li et al. 2020, arXiv:1810.05934), on horizons of any lengths.

A trial that ended on a short horizon informs the sampler too: Optuna's TPE ranks it below those
that went further, by its value there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from lrsearch.errors import SpecError

MIN_HORIZON_STEPS = 20
"""A whole schedule in fewer updates than this says nothing, whatever the task."""
LEARNING_STEPS = 100
"""Updates in which most networks leave their first plateau; a default horizon has at least these.

With 58 updates LeNet's schedules could not be told apart: many were still at chance.
"""


class HorizonsPruner(BasePruner):
    """Lets a trial go on to the next horizon if it is among the best of those that have come there.

    A trial reports its value with the horizon as the step. It goes on if fewer than
    max(1, ⌊n / `reduction_factor`⌋) of the n trials that have reached the horizon, itself included,
    are better; so ties go on, and the first always does.

    Args:
        reduction_factor: how many trials a horizon has for each that goes on; at least 2.
    """

    def __init__(self, reduction_factor: float = 4) -> None:
        self.reduction_factor = reduction_factor

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the trial ends at the last horizon that it has reported."""
        horizon = trial.last_step
        if horizon is None:
            return False
        value = trial.intermediate_values[horizon]
        others = [
            other.intermediate_values[horizon]
            for other in study.get_trials(deepcopy=False)
            if horizon in other.intermediate_values and other.number != trial.number
        ]
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        better = sum(sign * other > sign * value for other in others)
        promoted = max(1, math.floor((len(others) + 1) / self.reduction_factor))
        return math.isnan(value) or better >= promoted


def default_horizons(epochs: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return a sixth of the run and the whole, in epochs; the whole alone where it is short.

    The short one has at least `LEARNING_STEPS` updates and at most half of the epochs. On recorded
    searches one short horizon cost as little as two, and lost the best less often.

    Example:
        >>> default_horizons(epochs=30, steps_per_epoch=100)
        (5, 30)
        >>> default_horizons(epochs=6, steps_per_epoch=58)
        (2, 6)
        >>> default_horizons(epochs=2, steps_per_epoch=5)
        (2,)
    """
    short = max(1, round(epochs / 6), math.ceil(LEARNING_STEPS / steps_per_epoch))
    return (short, epochs) if 2 * short <= epochs else (epochs,)


def with_longer(horizons: Sequence[int]) -> tuple[int, ...]:
    """Return default horizons with one between, for where the short one says too little.

    It is twice as long, but at most half of the full run.

    Example:
        >>> with_longer((5, 30)), with_longer((2, 6)), with_longer((1, 2)), with_longer((2,))
        ((5, 10, 30), (2, 3, 6), (1, 2), (2,))
    """
    *short, full = horizons
    longer = [min(2 * first, full // 2) for first in short]
    return (*short, *(epochs for epochs in longer if epochs > short[-1]), full)


def check_horizons(horizons: Sequence[int], epochs: int, steps_per_epoch: int) -> None:
    """Refuse horizons that do not fit a task.

    Raises:
        SpecError: if the last is not the full run, or the first is too short.
    """
    if horizons[-1] != epochs:
        raise SpecError(
            f"pruning.horizons must end with the full run of {epochs} epochs (task.epochs), "
            f"but ends with {horizons[-1]}"
        )
    if (steps := horizons[0] * steps_per_epoch) < MIN_HORIZON_STEPS:
        raise SpecError(
            f"pruning.horizons begins with {horizons[0]}, which is {steps} updates; "
            f"the shortest must have at least {MIN_HORIZON_STEPS}: begin with more epochs"
        )
