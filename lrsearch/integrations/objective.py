"""An Optuna objective that keeps its own loop, and is pruned on whole schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import optuna

from lrsearch.search import check_horizons, default_horizons


def on_horizons(
    trial: optuna.Trial,
    train: Callable[[int], float],
    *,
    epochs: int,
    steps_per_epoch: int,
    horizons: Sequence[int] | None = None,
) -> float:
    """Train a whole schedule on short horizons first, and in full if the trial is good there.

    For an objective of your own in a study of Optuna's, with `HorizonsPruner` as its pruner: a
    trial goes on if it is among the best of those that have come to its horizon. Any other pruner
    of Optuna's compares the trials at each horizon too. Device, seed and checkpoints stay what your
    loop makes of them: Optuna starts an interrupted trial over.

    Args:
        trial: Optuna's.
        train: trains the whole schedule from scratch in so many epochs, and returns the value.
        epochs: the length of the full run.
        steps_per_epoch: updates in an epoch.
        horizons: the lengths in epochs, the last being the full run; chosen by its length if left
            out.

    Returns:
        The value of the full run.

    Raises:
        optuna.TrialPruned: if the trial is not to go on, or its value is not finite.
        SpecError: if the horizons do not fit the run.

    Example:
        >>> import lrsearch, optuna
        >>> from lrsearch.integrations import HorizonsPruner, on_horizons
        >>> EPOCHS, STEPS = 30, 100
        >>> def train(schedule, epochs):  # your own loop
        ...     weight = 1.0
        ...     for step in range(epochs * STEPS):
        ...         weight -= 0.01 * schedule.lr(step, epochs * STEPS) * weight
        ...     return weight
        >>> def objective(trial):
        ...     schedule = lrsearch.suggest_schedule(trial, total_steps=EPOCHS * STEPS)
        ...     return on_horizons(
        ...         trial, lambda n: train(schedule, n), epochs=EPOCHS, steps_per_epoch=STEPS
        ...     )
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(pruner=HorizonsPruner())
        >>> study.optimize(objective, n_trials=8)
        >>> sorted({trial.last_step for trial in study.trials})
        [5, 30]
    """
    if horizons is None:
        horizons = default_horizons(epochs, steps_per_epoch)
    check_horizons(horizons, epochs, steps_per_epoch)
    value = math.nan
    for horizon in horizons:
        value = float(train(horizon))
        if not math.isfinite(value):
            raise optuna.TrialPruned(f"the value is {value} after {horizon} epochs")
        trial.report(value, horizon)
        if horizon != horizons[-1] and trial.should_prune():
            raise optuna.TrialPruned
    return value
