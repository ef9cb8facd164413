"""The diagnosis: sweep, look above the best rate, try warmup, clipping and another optimizer.

It follows the tuning playbook, https://github.com/google-research/tuning_playbook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lrsearch.diagnosis.network import Network, inspect_network
from lrsearch.diagnosis.trace import Trace, train_trace
from lrsearch.errors import TaskError
from lrsearch.tasks import Supervised

STEPS = 500
"""Updates of a short run at most: none is longer than the full run, unless that is asked for."""
SEEDS = 3
"""On so many seeds a run must train to count as stable, and a cure must hold to count as one: near
the edge it is luck whether a single run does."""
RATES = 10
"""Rates in the sweep."""
ABOVE = (2.0, 5.0, 10.0)
"""Multiples of the best rate that are looked at closely."""
GOAL = 10.0
"""The multiple of the unstable rate that a cure is to reach."""
FURTHER = 100.0
"""The multiple that is tried next where the goal is reached."""
LESS = (5.0, 2.0, 1.0)
"""The multiples that are tried where it is not, until one is reached."""
WARMUPS = (10, 30, 100, 300, 1000, 3000, 10000)
"""Warmups tried, in updates; at most a tenth of the full run."""
PERCENTILES = (90, 50)
"""Of the gradient's norms at lr*, where they are clipped; the stricter where the other fails."""
LEARNED = 0.5
"""A cure learns at least this share of what lr* does in as many updates: the margin to a rate at
which a run only just trains."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Diagnosis:
    """What the runs showed.

    But for the sweeps each setting was tried on `SEEDS` seeds, until one failed: its trace is that
    of the seed that failed, else that of the first.

    Args:
        full_run: updates of the task's full run.
        warmup_unit: updates in what the study file counts warmups in.
        sweep: constant rates, rising.
        best: the feasible one of them with the lowest validation loss; its rate is the playbook's
            lr*.
        above: the best rate, and 2, 5 and 10 times it.
        unstable: the first of these that does not train stably, if any.
        warmups: what was tried against it, the last of each rate being the shortest that trains,
            if one does.
        clip_norm: the 90th percentile of the gradient norms at the best rate.
        clipped: runs with the gradient cut to that, or to the median norm where that did not help.
        full_length: lr* trained for the full run, and what helped in short runs, a warmup laid
            before it.
        adam: a sweep with another optimizer, where it was worth trying.
        network: what the network is made of.
    """

    full_run: int
    warmup_unit: int
    sweep: tuple[Trace, ...]
    best: Trace
    above: tuple[Trace, ...]
    unstable: Trace | None
    warmups: tuple[Trace, ...]
    clip_norm: float
    clipped: tuple[Trace, ...]
    full_length: tuple[Trace, ...]
    adam: tuple[Trace, ...]
    network: Network

    @property
    def cure(self) -> Trace | None:
        """The full-length run that trains at the highest rate; of equals the best evaluated."""
        works = [trace for trace in self.full_length[1:] if holds(trace, self.full_length[0])]
        return max(works, key=lambda t: (t.base_lr, -t.best_val_loss), default=None)


def diagnose(
    task: Supervised,
    *,
    low: float,
    high: float,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Say = lambda line: None,
) -> Diagnosis:
    """Diagnose a task by short runs; what helps in these is trained at full length.

    Args:
        task: what is diagnosed.
        low: the lowest rate of the sweep.
        high: its highest, unless even higher rates train.
        steps: updates of a short run; else 500, or those of the full run if it has fewer.
        seed: of the sweeps, and the first of what is tried on several.
        device: a torch device.
        say: is told what is being tried.

    Raises:
        TaskError: if no rate trains.
    """
    full_run = task.epochs * task.steps_per_epoch
    short = steps or min(STEPS, full_run)

    known: dict[tuple[object, ...], Trace] = {}

    def train(
        base_lr: float,
        steps: int = short,
        seed: int = seed,
        warmup_steps: int = 0,
        clip_norm: float | None = None,
    ) -> Trace:
        """Train what has not been: a short run of a short study is as long as the full one."""
        key = (base_lr, steps, seed, warmup_steps, clip_norm)
        if key not in known:
            known[key] = train_trace(
                task, base_lr, steps=steps, seed=seed, device=device,
                warmup_steps=warmup_steps, clip_norm=clip_norm,
            )  # fmt: skip
        return known[key]

    seeds = range(seed, seed + SEEDS)
    steadily = partial(_steadily, train, seeds)

    sweep = _sweep(train, np.geomspace(low, high, RATES), say)
    while sweep[-1].base_lr < 1e3 and not all(trace.infeasible for trace in sweep[-2:]):
        sweep += _sweep(train, [sweep[-1].base_lr * 3], say)  # the edge lies further up
    best = _best(sweep)
    say(f"a closer look at the best rate {best.base_lr:.3g}, at 2, 5 and 10 times it")
    again = _steadily(train, seeds[1:], best.base_lr) if best.stable else best
    above = [best if again.stable else again]
    above += [steadily(best.base_lr * factor) for factor in ABOVE]
    unstable = next((trace for trace in above if not trace.stable), None)
    warmups: list[Trace] = []
    clipped: list[Trace] = []
    full_length: list[Trace] = []
    adam: list[Trace] = []
    if unstable is not None:
        warmups, clipped, full_length = _cures(
            train, steadily, unstable, best, full_run, short, say
        )
        if task.optimizer_name != "adam":
            other = replace(task, optimizer="adam")
            say("adam, at its own rates")
            other_train = partial(train_trace, other, steps=short, seed=seed, device=device)
            adam = _sweep(other_train, np.geomspace(1e-4, 1e-2, 5), say)
    return Diagnosis(
        full_run=full_run,
        warmup_unit=task.steps_per_epoch if task.lr_every == "epoch" else 1,
        sweep=tuple(sweep),
        best=best,
        above=tuple(above),
        unstable=unstable,
        warmups=tuple(warmups),
        clip_norm=norm_percentile(best, PERCENTILES[0]),
        clipped=tuple(clipped),
        full_length=tuple(full_length),
        adam=tuple(adam),
        network=inspect_network(task, seed=seed, device=device),
    )


def clip_norm_at(
    task: Supervised, percentile: float, *, low: float, high: float, seed: int, device: str
) -> float:
    """Return a percentile of the gradient norms at the best of some constant rates.

    Args:
        task: what is trained.
        percentile: in [0, 100].
        low: the lowest rate tried.
        high: the highest.
        seed: of all runs.
        device: a torch device.

    Raises:
        TaskError: if no rate trains.
    """
    steps = min(STEPS, task.epochs * task.steps_per_epoch)
    train = partial(train_trace, task, steps=steps, seed=seed, device=device)
    best = _best(_sweep(train, np.geomspace(low, high, RATES), lambda line: None))
    return norm_percentile(best, percentile)


def norm_percentile(trace: Trace, percentile: float) -> float:
    """Return a percentile of the gradient norms of a run."""
    return float(np.percentile(trace.grad_norms, percentile))


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
            "not finite, or ends no lower than at the start or by a constant guess; check the data "
            "and the loss, lower space.base_lr, or take more updates (diagnose --steps)"
        )
    return min(feasible, key=lambda trace: trace.best_val_loss)


def _steadily(
    train: Callable[..., Trace],
    seeds: Iterable[int],
    *args: Any,
    works: Callable[[Trace], bool] = lambda trace: trace.stable,
    **options: Any,
) -> Trace:
    """Train with each seed until a run does not work; return that one, else the first."""
    first = None
    for seed in seeds:
        trace = train(*args, seed=seed, **options)
        if not works(trace):
            return trace
        first = first or trace
    assert first is not None
    return first


def _cures(
    train: Callable[..., Trace],
    steadily: Callable[..., Trace],
    unstable: Trace,
    best: Trace,
    full_run: int,
    short: int,
    say: Say,
) -> tuple[list[Trace], list[Trace], list[Trace]]:
    """Return the warmups and clipped runs tried, and what of them helps, at full length after lr*.

    From the goal on to what can be reached.
    """
    warmups: list[Trace] = []
    clipped: list[Trace] = []
    full_length: list[Trace] = []
    shown = unstable.instability
    held = short if shown is None else min(short, 2 * (shown[1] + 1))

    def reached(multiple: float) -> bool:
        rate = multiple * unstable.base_lr
        warmups.extend(tried := _warmups(steadily, rate, full_run, held, say))
        clipped.extend(cut := _clipped(steadily, rate, best, say))
        helps = [trace for trace in (*tried, *cut) if trace.stable]
        if helps and not full_length:
            say(f"lr* {best.base_lr:.3g} for the full run of {full_run} updates")
            full_length.append(train(best.base_lr, steps=full_run))
        runs = [_at_full_length(steadily, trace, full_length[0], say) for trace in helps]
        full_length.extend(runs)
        return any(holds(trace, full_length[0]) for trace in runs)

    if reached(GOAL):
        reached(FURTHER)
    else:
        next(filter(reached, LESS), None)
    return warmups, clipped, full_length


def _warmups(
    steadily: Callable[..., Trace], rate: float, full_run: int, held: int, say: Say
) -> list[Trace]:
    """Rise to a high rate ever more slowly, and hold it for twice as long, until that trains.

    And for so many updates at least: twice as long as the instability took to show without.
    """
    traces: list[Trace] = []
    for warmup in [count for count in WARMUPS if count <= full_run / 10]:
        say(f"a warmup of {warmup} updates to base_lr {rate:.3g}")
        steps = warmup + max(2 * warmup, held)
        traces.append(steadily(rate, steps=steps, warmup_steps=warmup))
        if traces[-1].stable:
            break
    return traces


def _clipped(steadily: Callable[..., Trace], rate: float, best: Trace, say: Say) -> list[Trace]:
    """Cut the gradient to its usual norm at lr*, and harder where that does not help."""
    traces: list[Trace] = []
    for percentile in PERCENTILES:
        clip_norm = norm_percentile(best, percentile)
        say(f"gradient clipped to {clip_norm:.3g} (p{percentile}) at base_lr {rate:.3g}")
        traces.append(steadily(rate, clip_norm=clip_norm))
        if traces[-1].stable:
            break
    return traces


def _at_full_length(steadily: Callable[..., Trace], trace: Trace, plain: Trace, say: Say) -> Trace:
    """Train what helps in short runs for as long as the plain full run, a warmup laid before it."""
    how = f"after {trace.warmup_steps} updates of warmup" if trace.warmup_steps else "clipped"
    say(f"base_lr {trace.base_lr:.3g} {how} for the full run")
    return steadily(
        trace.base_lr,
        steps=plain.steps + trace.warmup_steps,
        warmup_steps=trace.warmup_steps,
        clip_norm=trace.clip_norm,
        works=partial(holds, plain=plain),
    )


def holds(trace: Trace, plain: Trace) -> bool:
    """Return whether a full-length run keeps training, and learns enough beside that at lr*.

    It ends no better than by a guess only if that run does too, as both do where they overfit.
    """
    gained, other = (plain.baseline - run.best_val_loss for run in (trace, plain))
    return trace.finite and (plain.infeasible or not trace.infeasible) and gained >= LEARNED * other
