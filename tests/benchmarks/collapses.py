"""Do checks see which runs collapse? The yardstick's schedules that do on some seeds, run again.

    python -m tests.benchmarks.collapses

Of each schedule of `studies/search.json` that collapses on some of its six seeds and holds on
others, all six runs are trained again, epoch by epoch. Each then stands for a check beside one of
the runs that hold (`lrsearch.search.holds`): one that collapses should go on to its end, one that
holds should stop, and early.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any, NamedTuple

from lrsearch import Schedule
from lrsearch.search import Shown, holds
from tests.benchmarks.search import COLLAPSED, JUDGING_SEEDS, TASKS, Known, prepare, task_of


class Seen(NamedTuple):
    """What checks make of a schedule: after how many epochs each stops, `None` for never."""

    of_collapsing: list[int | None]
    of_holding: list[int | None]


def look(task: str, schedule: dict[str, Any]) -> Seen:
    """Train a schedule on each seed, and check every run beside every other that holds."""
    courses = {seed: _course(task, schedule, seed) for seed in JUDGING_SEEDS}
    full = task_of(task, full=False).epochs
    hold = [s for s, c in courses.items() if len(c) == full and c[-1].shown.value >= COLLAPSED]
    seen = Seen([], [])
    for seed, course in courses.items():
        for other in hold:
            if other != seed:
                of = seen.of_holding if seed in hold else seen.of_collapsing
                of.append(_stop(course[: full - 1], [epoch.shown for epoch in courses[other]]))
    return seen


class Epoch(NamedTuple):
    """What a run showed after an epoch, and whether it had learned."""

    shown: Shown
    learned: bool


def _stop(course: list[Epoch], other: list[Shown]) -> int | None:
    """Return after how many epochs a check would stop beside another run; `None` for never."""
    for number, (shown, learned) in enumerate(course, 1):
        if learned and holds(number, shown.value, [other], maximize=True):
            return number
    return None


def _course(task: str, schedule: dict[str, Any], seed: int) -> list[Epoch]:
    """Return what a full run shows after each epoch; it ends where it diverges."""
    trained = task_of(task, full=False)
    asked = Schedule.from_dict(schedule)
    course = []
    for progress in trained.run(asked, epochs=trained.epochs, seed=seed, device="cpu"):
        if progress.diverged:
            break
        _, lr = progress.place(asked, trained, trained.epochs)
        shown = Shown(progress.metrics["val_accuracy"], lr)
        course.append(Epoch(shown, progress.learned is not False))
    return course


def mixed(known: Known, task: str) -> list[dict[str, Any]]:
    """Return the schedules that collapse on some seeds and hold on others."""
    found = []
    for key, entry in known.true.items():
        values = [(value or [0.0])[0] for value in entry["values"].values()]
        if key.split("/")[:2] == ["quick", task] and min(values) < COLLAPSED <= max(values):
            found.append(entry["schedule"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--processes", type=int, default=cpu_count())
    parser.add_argument("--file", type=Path, default=Path("studies/search.json"))
    options = parser.parse_args()
    known = Known(options.file)
    print("| task | schedules | collapsing | of these stop | holding | of these stop | after |")
    print("|---|---|---|---|---|---|---|")
    spawn = get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=spawn, initializer=prepare) as pool:
        for task in options.tasks:
            schedules = mixed(known, task)
            if schedules:
                _show(task, list(pool.map(partial(look, task), schedules)))


def _show(task: str, seen: Sequence[Seen]) -> None:
    """Print what checks made of a task's schedules."""
    collapsing = [stop for each in seen for stop in each.of_collapsing]
    holding = [stop for each in seen for stop in each.of_holding]
    after: dict[int, int] = defaultdict(int)
    for stop in holding:
        if stop is not None:
            after[stop] += 1
    missed = sum(stop is not None for stop in collapsing)
    epochs = ", ".join(f"{after[n]} after {n}" for n in sorted(after))
    print(
        f"| {task} | {len(seen)} | {len(collapsing)} | {missed} | {len(holding)} | "
        f"{sum(after.values())} | {epochs} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
