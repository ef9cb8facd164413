"""The diagnosis: sweep, look above the best rate, try warmup, clipping and another optimizer.

It follows the tuning playbook, https://github.com/google-research/tuning_playbook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lrsearch.diagnosis.trace import Trace, train_trace
from lrsearch.errors import TaskError
from lrsearch.tasks import Supervised

STEPS = 500
"""Updates of a short run."""
RATES = 10
"""Rates in the sweep."""
ABOVE = (2.0, 5.0)
"""Multiples of the best rate that are looked at closely."""
GOALS = (10.0, 5.0)
"""Multiples of the unstable rate that a cure is to reach, the most ambitious first."""
WARMUPS = (10, 30, 100, 300, 1000, 3000, 10000)
"""Warmups tried, in updates; at most a tenth of the full run."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Diagnosis:
    """What the short runs showed.

    Args:
        full_run: updates of the task's full run.
        sweep: constant rates, rising.
        best: the feasible one of them with the lowest validation loss; its rate is the playbook's
            lr*.
        above: the best rate, twice and five times it.
        unstable: the first of these that does not train stably, if any.
        warmups: what was tried against it, the last of each rate being the shortest that trains,
            if one does.
        clip_norm: the 90th percentile of the gradient norms at the best rate.
        clipped: runs with the gradient cut to that.
        adam: a sweep with another optimizer, where it was worth trying.
    """

    full_run: int
    sweep: tuple[Trace, ...]
    best: Trace
    above: tuple[Trace, ...]
    unstable: Trace | None
    warmups: tuple[Trace, ...]
    clip_norm: float
    clipped: tuple[Trace, ...]
    adam: tuple[Trace, ...]

    @property
    def cure(self) -> Trace | None:
        """The run that trains at the highest rate; of equals the best evaluated."""
        works = [trace for trace in (*self.warmups, *self.clipped) if trains(trace, self.best)]
        return max(works, key=lambda t: (t.base_lr, -t.best_val_loss), default=None)


def trains(trace: Trace, best: Trace) -> bool:
    """Return whether a run at a high rate is stable and learns, not merely survives.

    A network whose units have died ends below its first loss too; so a run must come within half as
    much again of the best evaluation at lr*.
    """
    return trace.stable and trace.best_val_loss < 1.5 * best.best_val_loss


def diagnose(
    task: Supervised,
    *,
    low: float,
    high: float,
    steps: int = STEPS,
    seed: int = 0,
    device: str = "cpu",
    say: Say = lambda line: None,
) -> Diagnosis:
    """Diagnose a task by short runs.

    Args:
        task: what is diagnosed.
        low: the lowest rate of the sweep.
        high: its highest, unless even higher rates train.
        steps: updates of a short run.
        seed: of all runs.
        device: a torch device.
        say: is told what is being tried.

    Raises:
        TaskError: if no rate trains.
    """

    def train(base_lr: float, steps: int = steps, **options: Any) -> Trace:
        return train_trace(task, base_lr, steps=steps, seed=seed, device=device, **options)

    full_run = task.epochs * task.steps_per_epoch
    sweep = _sweep(train, np.geomspace(low, high, RATES), say)
    while sweep[-1].base_lr < 1e3 and not all(trace.infeasible for trace in sweep[-2:]):
        sweep += _sweep(train, [sweep[-1].base_lr * 3], say)  # the edge lies further up
    best = _best(sweep)
    say(f"a closer look at the best rate {best.base_lr:.3g}, at 2 and at 5 times it")
    above = (best, *(train(best.base_lr * factor) for factor in ABOVE))
    unstable = next((trace for trace in above if not trace.stable), None)
    clip_norm = _p90(best)
    warmups: list[Trace] = []
    clipped: list[Trace] = []
    adam: list[Trace] = []
    for rate in [goal * unstable.base_lr for goal in GOALS] if unstable else []:
        warmups += _warmups(train, rate, full_run, best, say)
        say(f"gradient clipped to {clip_norm:.3g} at base_lr {rate:.3g}")
        clipped.append(train(rate, clip_norm=clip_norm))
        if any(trains(trace, best) for trace in (*warmups[-1:], clipped[-1])):
            break
    if unstable and task.optimizer_name != "adam":
        other = replace(task, optimizer="adam")
        say("adam, at its own rates")
        other_train = partial(train_trace, other, steps=steps, seed=seed, device=device)
        adam = _sweep(other_train, np.geomspace(1e-4, 1e-2, 5), say)
    return Diagnosis(
        full_run, tuple(sweep), best, above, unstable, tuple(warmups), clip_norm, tuple(clipped),
        tuple(adam),
    )  # fmt: skip


def clip_norm_p90(
    task: Supervised, *, low: float, high: float, seed: int = 0, device: str = "cpu"
) -> float:
    """Return the 90th percentile of the gradient norms at the best of some constant rates.

    Args:
        task: what is trained.
        low: the lowest rate tried.
        high: the highest.
        seed: of all runs.
        device: a torch device.

    Raises:
        TaskError: if no rate trains.
    """
    train = partial(train_trace, task, steps=STEPS, seed=seed, device=device)
    return _p90(_best(_sweep(train, np.geomspace(low, high, RATES), lambda line: None)))


def _p90(trace: Trace) -> float:
    return float(np.percentile(trace.grad_norms, 90))


def _sweep(train: Callable[..., Trace], rates: Iterable[float], say: Say) -> list[Trace]:
    traces = []
    for rate in rates:
        say(f"base_lr {rate:.3g}")
        traces.append(train(float(rate)))
    return traces


def _best(traces: list[Trace]) -> Trace:
    feasible = [trace for trace in traces if not trace.infeasible]
    if not feasible:
        raise TaskError(
            f"no rate from {traces[0].base_lr:.3g} to {traces[-1].base_lr:.3g} trains: the loss is "
            "not finite, or ends no lower than it starts; check the data and the loss, or lower "
            "space.base_lr"
        )
    return min(feasible, key=lambda trace: trace.best_val_loss)


def _warmups(
    train: Callable[..., Trace], rate: float, full_run: int, best: Trace, say: Say
) -> list[Trace]:
    """Rise to a high rate ever more slowly, and hold it for twice as long, until that trains."""
    traces: list[Trace] = []
    for warmup in [count for count in WARMUPS if count <= full_run / 10]:
        say(f"a warmup of {warmup} updates to base_lr {rate:.3g}")
        traces.append(train(rate, steps=3 * warmup, warmup_steps=warmup))
        if trains(traces[-1], best):
            break
    return traces
