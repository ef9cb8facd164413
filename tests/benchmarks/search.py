"""Our search against `optuna.create_study()` as it comes: real training, equal epochs, one space.

    python -m tests.benchmarks.search --subset          # a part of FashionMNIST, within 20 minutes
    python -m tests.benchmarks.search
    python -m tests.benchmarks.search --record momentum --epochs 320 --repeats 16

The last foretells from a record what training would come to, for searches that take long.
Both train the same task from the same seeds in the same objective. Plain Optuna has its own sampler
and pruner and reports every epoch; ours is the default of the study files. Each search ends when it
has spent its epochs; what counts is the best final validation accuracy of its complete trials.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from plotly.graph_objects import Figure, Scatter

from lrsearch.reporting.figures.style import figure, note
from lrsearch.storage import Lease, TrialQueue, open_storage, read_metrics
from lrsearch.study import StudySpec, create_study
from lrsearch.tasks import load_task
from lrsearch.worker import StudyTasks
from tests.benchmarks import surrogate
from tests.in_process import CountingRecorder, make_trainer, train_trial

Trace = list[tuple[int, float]]
"""Epochs spent and the best value so far, after each trial."""
NEAR = (0.001, 0.003, 0.005)
COLORS = {"lrsearch": "#0080c0", "Optuna as it comes": "#c05000"}


class Asked(NamedTuple):
    """What is to be searched, from which seed, in how many epochs."""

    seed: int
    epochs: int
    subset: bool
    record: str | None
    horizons: list[int] | None
    per_family: int | None


def spec_of(asked: Asked, **sections: Any) -> StudySpec:
    seed, subset = asked.seed, asked.subset
    if asked.record:
        return surrogate.spec_of(asked.record, 100_000, seed, **sections)
    task = {"run": "lrsearch.tasks.fashion_mnist:task", "epochs": 6 if subset else 10}
    return StudySpec.from_dict(
        {
            "study": {"name": "search", "trials": 100_000, "seed": seed},
            "task": task | ({"subset": 15_000} if subset else {}),
            "space": {"base_lr": {"low": 2e-3, "high": 0.6, "log": True}},
            **sections,
        }
    )


def ours(asked: Asked) -> Trace:
    """Search as a worker does, until the epochs are spent."""
    sections: dict[str, Any] = {}
    if asked.horizons:
        sections["pruning"] = {"kind": "horizons", "horizons": asked.horizons}
    if asked.per_family is not None:
        sections["sampler"] = {"per_family": asked.per_family}
    spec = spec_of(asked, **sections)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(f"sqlite:///{folder}/study.db")
        study = create_study(storage, spec, load_task(spec.task.run, spec.task_options()))
        worker = TrialQueue(storage, study.study_id, "cpu", 3600.0, max_failures=1)
        trainer = make_trainer(study, worker)
        trace: Trace = []
        while not trace or trace[-1][0] < asked.epochs:
            lease = worker.claim()
            assert isinstance(lease, Lease)
            trainer.train([lease])
            spent = len(read_metrics(storage, study.study_id))
            trial = study.optuna.get_trials(deepcopy=False)[lease.number]
            trace.append((spent, _best(trace, trial.state, trial.value)))
    return trace


def plain(asked: Asked) -> Trace:
    """Search with Optuna's own sampler and pruner, until the epochs are spent."""
    spec = spec_of(asked, pruning={"kind": "epochs", "pruner": "median"})
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=asked.seed))
    full = load_task(spec.task.run, spec.task_options()).epochs
    tasks, recorder, trace = StudyTasks(spec, (full,)), CountingRecorder(), []
    while not trace or trace[-1][0] < asked.epochs:
        trial = study.ask()
        outcome = train_trial(tasks, trial, recorder)
        study.tell(trial, outcome.value, outcome.state)
        trace.append((recorder.epochs, _best(trace, outcome.state, outcome.value)))
    return trace


def _best(trace: Trace, state: TrialState, value: float | None) -> float:
    found = value if state == TrialState.COMPLETE and value is not None else 0.0
    return max([found, *(best for _, best in trace[-1:])])


SIDES: dict[str, Callable[[Asked], Trace]] = {
    "lrsearch": ours,
    "Optuna as it comes": plain,
}


def _one(task: tuple[str, Asked]) -> Trace:
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    side, asked = task
    return SIDES[side](asked)


def value_at(trace: Trace, epochs: int) -> float:
    """Return the best value that was found within so many epochs."""
    return max((best for spent, best in trace if spent <= epochs), default=0.0)


def epochs_to(trace: Trace, value: float) -> float:
    """Return the epochs in which a search came to a value; infinite if it did not."""
    return next((float(spent) for spent, best in trace if best >= value), np.inf)


def show(found: dict[str, list[Trace]], budget: int) -> None:
    """Print the best value after so many epochs, and the epochs to come near the best known."""
    repeats = len(next(iter(found.values())))
    marks = [budget // 4, budget // 2, budget]
    print(f"\nbest validation accuracy after so many epochs, mean of {repeats} (lowest)\n")
    print(f"| search | {' | '.join(map(str, marks))} |\n|---|{'---|' * len(marks)}")
    for side, traces in found.items():
        columns = [[value_at(trace, mark) for trace in traces] for mark in marks]
        cells = [f"{np.mean(values):.4f} ({min(values):.4f})" for values in columns]
        print(f"| {side} | {' | '.join(cells)} |")
    top = [max(traces[i][-1][1] for traces in found.values()) for i in range(repeats)]
    print("\nepochs until within so much of the best that either found from that seed, median\n")
    print(f"| search | {' | '.join(f'{100 * near:.1f} pp' for near in NEAR)} |")
    print("|---|" + "---|" * len(NEAR))
    for side, traces in found.items():
        took = [[epochs_to(traces[i], top[i] - near) for i in range(repeats)] for near in NEAR]
        cells = [
            f"{f'{median(t):.0f}' if np.isfinite(median(t)) else 'not reached'} "
            f"({sum(map(np.isfinite, t))} of {repeats} came there)"
            for t in took
        ]
        print(f"| {side} | {' | '.join(cells)} |")


def draw(found: dict[str, list[Trace]], budget: int, title: str) -> Figure:
    """Draw the mean of the best so far against epochs spent, with the range over the repeats.

    The axis begins where the lowest search stands after a quarter of the epochs.
    """
    epochs = np.arange(0, budget + 1)
    drawn = figure(
        title,
        xaxis={"title": "epochs of training spent"},
        yaxis={"title": "best final validation accuracy"},
        legend={"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    )
    for side, traces in found.items():
        values = np.array([[value_at(trace, epoch) for epoch in epochs] for trace in traces])
        values[values == 0] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where no trial is complete yet
            low, high, mean = np.nanmin(values, 0), np.nanmax(values, 0), np.mean(values, 0)
        shown = np.isfinite(low)
        drawn.add_trace(
            Scatter(
                x=[*epochs[shown], *epochs[shown][::-1]],
                y=[*high[shown], *low[shown][::-1]],
                fill="toself",
                fillcolor=COLORS[side],
                opacity=0.2,
                line={"width": 0},
                showlegend=False,
            )
        )
        drawn.add_trace(
            Scatter(x=epochs, y=mean, mode="lines", line={"color": COLORS[side]}, name=side)
        )
    everyone = [trace for traces in found.values() for trace in traces]
    top = max(value_at(trace, budget) for trace in everyone)
    bottom = min(value_at(trace, budget // 4) for trace in everyone)
    margin = 0.05 * (top - bottom)
    drawn.update_yaxes(range=[bottom - margin, top + margin])
    note(drawn, f"line: mean of {len(traces)} searches; band: their range")
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--subset", action="store_true", help="15,000 images, 6 epochs")
    parser.add_argument("--record", help="foretell from this record: momentum, adam, mlp")
    parser.add_argument("--horizons", type=int, nargs="+", help="of lrsearch; else the default")
    parser.add_argument("--per-family", type=int, help="of lrsearch; else the default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=180, help="that each search may spend")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="FILE.png")
    parser.add_argument("--traces", type=Path, help="FILE.json, for the numbers behind the figure")
    options = parser.parse_args()
    epochs, subset = options.epochs, options.subset
    tasks = [
        (side, Asked(seed, epochs, subset, options.record, options.horizons, options.per_family))
        for seed in range(options.repeats)
        for side in SIDES
    ]
    with get_context("spawn").Pool(options.processes) as pool:
        traces = pool.map(_one, tasks, chunksize=1)
    found: dict[str, list[Trace]] = {side: [] for side in SIDES}
    for (side, *_), trace in zip(tasks, traces, strict=True):
        found[side].append(trace)
    show(found, options.epochs)
    if options.traces:
        options.traces.write_text(json.dumps(found), encoding="utf-8")
    if options.picture:
        how = f"foretold ({options.record})" if options.record else "in real training"
        drawn = draw(found, options.epochs, f"Best schedule so far, {how}")
        drawn.write_image(options.picture, width=900, height=520, scale=2)


if __name__ == "__main__":
    main()
