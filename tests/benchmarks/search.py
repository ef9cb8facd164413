"""The yardstick: searches in real training, judged by what they hand over, on seeds of its own.

    python -m tests.benchmarks.search --tasks perceptron     # goes on from studies/search.json
    python -m tests.benchmarks.search --table
    python -m tests.benchmarks.search --table --picture studies/search.png

After 1/8, 1/4, 1/2 and all of its epochs each search says which schedule it would hand over and
what it believes that to come to. The schedule's full run is then trained on six seeds that no
search has used and measured on images that no search has read. So luck does not count; how far it
deceives a search is what that states too much on the very images that it has read.

All that is found is kept in one file, from which a broken-off benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch import Schedule
from lrsearch.evaluation import find_answer
from lrsearch.reporting.figures.style import DASHES, HUES, figure, note
from lrsearch.search import HorizonsPruner, SeededSampler, build_sampler, family_in_turn
from lrsearch.storage import Lease, NoTrialReason, TrialQueue, count_epochs, open_storage
from lrsearch.study import StudySpec, create_study
from lrsearch.tasks import Data, Progress, Supervised, load_task
from lrsearch.tasks.fashion_mnist import data_folder
from lrsearch.worker import StudyTasks, plan_of
from tests.in_process import CountingRecorder, make_trainer, train_trial

QUICK_IMAGES, QUICK_EPOCHS, QUICK_BUDGET = 15_000, 6, 96
FULL_EPOCHS, FULL_BUDGET = 10, 240
UNREAD = slice(QUICK_IMAGES, 35_000)
"""Of the training images, those that no search reads in the quick setting."""
JUDGING_SEEDS = range(6)
"""Searches use seeds from 100 on."""
CHANCE = 0.1
"""What a run that diverges comes to."""
COLLAPSED = 0.5
KEPT = 0.3
"""The share of its epochs in which a search confirms what it has found."""
CONFIRMED = 4
GROUPED = {"kind": "tpe", "multivariate": True, "group": True, "per_family": 2}
"""A sampler that lrsearch had before."""

NETWORKS = "tests.benchmarks.networks"
TASKS: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    "perceptron": ({"model": f"{NETWORKS}:perceptron", "optimizer": "momentum"}, (2e-3, 1.0)),
    "lenet_momentum": ({"optimizer": "momentum"}, (2e-3, 1.0)),
    "lenet_sgd": ({"optimizer": "sgd"}, (1e-2, 2.0)),
    "small_conv": ({"model": f"{NETWORKS}:small_conv", "optimizer": "nesterov"}, (2e-3, 1.0)),
    "lenet_adam": ({"optimizer": "adam"}, (1e-4, 3e-2)),
}
"""By name the options of the task, and the domain of `base_lr`."""


def further_seeds(count: int) -> range:
    """Return seeds that judge beside `JUDGING_SEEDS`."""
    return range(JUDGING_SEEDS.stop, JUDGING_SEEDS.stop + count)


class Asked(NamedTuple):
    """A search: which task and way, from which seed, in how many epochs."""

    task: str
    full: bool
    epochs: int
    arm: str
    repeat: int

    @property
    def key(self) -> str:
        return f"{_setting(self.full)}/{self.epochs}/{self.task}/{self.arm}/{self.repeat}"

    @property
    def marks(self) -> list[int]:
        return [self.epochs // 8, self.epochs // 4, self.epochs // 2, self.epochs]

    @property
    def seed(self) -> int:
        return 100 * (self.repeat + 1)

    def run(self) -> Trace:
        return ARMS[self.arm](self)


class Judged(NamedTuple):
    """The full run of a schedule on a seed that no search has used."""

    task: str
    full: bool
    schedule: str
    seed: int

    @property
    def key(self) -> str:
        return _true_key(self.task, self.full, self.schedule)

    def run(self) -> tuple[float, float] | None:
        """Return what it comes to on images that no search has read, and on those that searches do.

        `None` if it diverges.
        """
        task = _judged_task(self.task, self.full)
        schedule = Schedule.from_dict(json.loads(self.schedule))
        *_, last = task.run(schedule, epochs=task.epochs, seed=self.seed, device="cpu")
        if last.diverged or last.test is None:
            return None
        return last.test()["test_accuracy"], round(last.metrics["val_accuracy"], 5)


class HandOver(NamedTuple):
    """What a search would hand over: the JSON form of a schedule, and what it says of it."""

    schedule: str
    told: float


Trace = dict[int, HandOver]
"""By mark, what a search would hand over then; nothing where it has nothing yet."""


def _setting(full: bool) -> str:
    return "full" if full else "quick"


def _true_key(task: str, full: bool, schedule: str) -> str:
    return f"{_setting(full)}/{task}/{sha256(schedule.encode()).hexdigest()[:10]}"


def _text(schedule: Schedule) -> str:
    return json.dumps(schedule.to_dict(), sort_keys=True)


# What is searched


def spec_of(asked: Asked, **sections: Any) -> StudySpec:
    options, (low, high) = TASKS[asked.task]
    quick = {"epochs": QUICK_EPOCHS, "subset": QUICK_IMAGES}
    size = {"epochs": FULL_EPOCHS} if asked.full else quick
    return StudySpec.from_dict(
        {
            "study": {
                "name": "search",
                "trials": 100_000,
                "epochs": asked.epochs,
                "seed": asked.seed,
            },
            "task": {"run": "lrsearch.tasks.fashion_mnist:task", **options, **size},
            "space": {"base_lr": {"low": low, "high": high, "log": True}},
            **sections,
        }
    )


@cache
def task_of(name: str, full: bool) -> Supervised:
    """Return a task of the yardstick, by its name."""
    spec = spec_of(Asked(name, full, FULL_BUDGET, "", 0))
    task = load_task(spec.task.run, spec.task_options())
    assert isinstance(task, Supervised)
    return task


@cache
def _judged_task(name: str, full: bool) -> Supervised:
    """Return the task with other images to test on; what `plateau` reads stays as it is."""
    task = task_of(name, full)
    return replace(task, data=partial(_judged_data, full, task.data))


@cache
def _judged_data(full: bool, data: Callable[[], Data]) -> Data:
    read = data()
    return replace(read, test=read.test if full else _unread)


@cache
def _unread() -> tuple[Any, Any]:
    from torchvision.datasets import FashionMNIST

    images = FashionMNIST(str(data_folder()), train=True)
    return images.data[UNREAD].unsqueeze(1), images.targets[UNREAD]


# The ways to search


class Complete(NamedTuple):
    """A trial that was trained in full, and the epochs that the search had spent then."""

    spent: int
    found: HandOver


def lrsearch(asked: Asked, **sections: Any) -> Trace:
    """Search as a worker does, with the default settings but for some sections."""
    spec = spec_of(asked, **sections)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(f"sqlite:///{folder}/study.db")
        study = create_study(storage, spec, task_of(asked.task, asked.full))
        queue = TrialQueue(storage, study.study_id, "cpu", 3600.0, 1, plan_of(study))
        trainer = make_trainer(study, queue)
        trace: list[Complete] = []
        while isinstance(claim := queue.claim(), Lease):
            trainer.train([claim])
            if (answer := find_answer(study)) is None:
                continue
            assert answer.trial.schedule
            stated = answer.value if answer.expected is None else answer.expected
            spent = count_epochs(storage, study.study_id)
            trace.append(Complete(spent, HandOver(_text(answer.trial.schedule), stated)))
        storage.engine.dispose()
    assert claim is NoTrialReason.DONE, claim
    return {
        mark: before[-1].found
        for mark in asked.marks
        if (before := [found for found in trace if found.spent <= mark])
    }


def horizons_one_seed(asked: Asked) -> Trace:
    """Search as lrsearch did before: a sixth of the run, promoted at once; families in turn."""
    task = task_of(asked.task, asked.full)
    horizons = [max(1, round(task.epochs / 6)), task.epochs]
    spec = spec_of(asked, pruning={"kind": "horizons", "horizons": horizons})
    rungs = spec.rungs(horizons)
    families = spec.search_space().families
    study = optuna.create_study(direction="maximize", pruner=HorizonsPruner())
    tasks, recorder, complete = StudyTasks(spec, rungs), CountingRecorder(), list[Complete]()
    number = 0
    while recorder.epochs < asked.epochs:
        study.sampler = SeededSampler(
            partial(build_sampler, "tpe", {"multivariate": True, "group": True}),
            seed=asked.seed,
            number=number,
            family=family_in_turn(families, number, 2, asked.seed),
        )
        trial = study.ask()
        outcome = train_trial(tasks, trial, recorder)
        study.tell(trial, outcome.value, outcome.state)
        if outcome.value is not None:
            schedule = tasks.schedule(trial, task)
            complete.append(Complete(recorder.epochs, HandOver(_text(schedule), outcome.value)))
        number += 1
    return _best_by_value(asked, complete)


def random(asked: Asked) -> Trace:
    """Train schedules drawn at random, each in full."""
    complete = _optuna(asked, asked.epochs, RandomSampler(seed=asked.seed), NopPruner())
    return _best_by_value(asked, complete)


def optunas_defaults(asked: Asked) -> Trace:
    """Search by `optuna.create_study()` as it comes."""
    return _best_by_value(asked, _optunas_defaults(asked, asked.epochs))


def optunas_defaults_confirmed(asked: Asked) -> Trace:
    """Search alike in part of the epochs; in the others train the best on further seeds.

    At each mark stands what a search of that length hands over: the best by the mean of its runs.
    """
    full = task_of(asked.task, asked.full).epochs
    complete = list(_optunas_defaults(asked, int((1 - KEPT) * asked.epochs)))
    run = cache(partial(_value, asked))
    trace: Trace = {}
    for mark in asked.marks:
        searched = int((1 - KEPT) * mark)
        found = [trial.found for trial in complete if trial.spent <= searched]
        found.sort(key=lambda trial: -trial.told)
        runs = (mark - searched) // full
        best = found[: min(CONFIRMED, runs)]
        further = range(1, 1 + runs // len(best)) if best else ()
        known = [
            (fmean([told, *(run(schedule, asked.seed + seed) for seed in further)]), schedule)
            for schedule, told in best
        ]
        if known or found:
            told, schedule = max(known) if known else (found[0].told, found[0].schedule)
            trace[mark] = HandOver(schedule, told)
    return trace


def _optunas_defaults(asked: Asked, epochs: int) -> Iterator[Complete]:
    return _optuna(asked, epochs, TPESampler(seed=asked.seed), MedianPruner())


def _optuna(
    asked: Asked, epochs: int, sampler: BaseSampler, pruner: BasePruner
) -> Iterator[Complete]:
    """Search as any Optuna script does, while there are epochs left for a full run."""
    task = task_of(asked.task, asked.full)
    space = spec_of(asked).search_space()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    spent = 0
    while spent + task.epochs <= epochs:
        trial = study.ask()
        schedule = space.suggest(trial, task.epochs * task.steps_per_epoch)
        for progress in _run(asked, schedule, asked.seed):
            spent += 1
            if progress.diverged:
                study.tell(trial, state=TrialState.FAIL)  # as Optuna does with what is no number
                break
            value = progress.metrics["val_accuracy"]
            trial.report(value, progress.epoch)
            if progress.epoch < task.epochs and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            yield Complete(spent, HandOver(_text(schedule), value))


def _run(asked: Asked, schedule: Schedule, seed: int) -> Iterator[Progress]:
    task = task_of(asked.task, asked.full)
    return task.run(schedule, epochs=task.epochs, seed=seed, device="cpu")


def _value(asked: Asked, schedule: str, seed: int) -> float:
    """Return what a full run comes to."""
    *_, last = _run(asked, Schedule.from_dict(json.loads(schedule)), seed)
    return CHANCE if last.diverged else last.metrics["val_accuracy"]


def _best_by_value(asked: Asked, complete: Iterable[Complete]) -> Trace:
    """Hand over the trial with the best value."""
    trials = list(complete)
    return {
        mark: max(found, key=lambda trial: trial.told)
        for mark in asked.marks
        if (found := [trial.found for trial in trials if trial.spent <= mark])
    }


ARMS: dict[str, Callable[[Asked], Trace]] = {
    "random": random,
    "Optuna's defaults": optunas_defaults,
    "Optuna's defaults, confirmed": optunas_defaults_confirmed,
    "horizons, one seed": horizons_one_seed,
    "lrsearch": lrsearch,
    "lrsearch, rates first": partial(lrsearch, sampler={"kind": "tpe", "rates_first": 7}),
    "lrsearch, TPE grouped": partial(lrsearch, sampler=GROUPED),
    "lrsearch, random sampling": partial(lrsearch, sampler={"kind": "random"}),
}


# What is known already


class Verdict(NamedTuple):
    """What a search stated, its schedule's values on each seed, and their mean on images read.

    NaN where that was not measured.
    """

    stated: float
    values: list[float]
    read: float


class Known:
    """What searches handed over and what that is worth, kept in one file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.searches: dict[str, dict[str, tuple[str, float]]] = data.get("searches", {})
        """By the search's key and mark: the key of the schedule, and the value stated."""
        self.true: dict[str, dict[str, Any]] = data.get("true", {})
        """By key: the schedule, and by seed what it comes to on other images and on those read.

        `None`: it diverges.
        """

    def keep(self, job: Asked | Judged, result: Any) -> None:
        """Keep what a search or a run has come to."""
        if isinstance(job, Judged):
            self.true[job.key]["values"][str(job.seed)] = result
        else:
            found: Trace = result
            self.searches[job.key] = {
                str(mark): (_true_key(job.task, job.full, handed.schedule), round(handed.told, 5))
                for mark, handed in found.items()
            }
            for handed in found.values():
                entry = {"schedule": json.loads(handed.schedule), "values": {}}
                self.true.setdefault(_true_key(job.task, job.full, handed.schedule), entry)
        self._write()

    def forget(self, searches: Iterable[Asked]) -> None:
        """Forget what some searches came to; what schedules are worth stays true."""
        for search in searches:
            self.searches.pop(search.key, None)

    def missing(self, asked: Asked, further: int = 0) -> list[Judged]:
        """Return the runs that are yet to be trained to judge a search, the last mark's first.

        What it hands over in the end is judged on so many further seeds.
        """
        runs = []
        *_, (last, _) = self.searches[asked.key].values()
        for key in dict.fromkeys(key for key, _ in reversed(self.searches[asked.key].values())):
            schedule = json.dumps(self.true[key]["schedule"], sort_keys=True)
            values = self.true[key]["values"]
            due = [*JUDGING_SEEDS, *(further_seeds(further) if key == last else ())]
            seeds = [seed for seed in due if None in (values.get(str(seed), [None]) or ())]
            runs += [Judged(asked.task, asked.full, schedule, seed) for seed in seeds]
        return runs

    def judged(
        self, asked: Asked, mark: int, seeds: Sequence[int] = JUDGING_SEEDS
    ) -> Verdict | None:
        """Return what a search stated and what is true of that, if all runs are known."""
        key, told = self.searches.get(asked.key, {}).get(str(mark), (None, math.nan))
        values = self.true[key]["values"] if key else {}
        if any(str(seed) not in values for seed in seeds):
            return None
        found = (values[str(seed)] or (CHANCE, CHANCE) for seed in seeds)
        unread, read = zip(*found, strict=True)
        return Verdict(told, list(unread), math.nan if None in read else fmean(read))

    def _write(self) -> None:
        """Replace the file, an entry a line."""
        tables = {"searches": self.searches, "true": self.true}
        text = ",\n".join(
            f'"{name}": {{\n'
            + ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in table.items())
            + "\n}"
            for name, table in tables.items()
        )
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")
        fresh.replace(self.path)


def prepare() -> None:
    """Make ready a process that trains."""
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def _timed(job: Asked | Judged) -> tuple[Any, float]:
    began = time.perf_counter()
    return job.run(), time.perf_counter() - began


def run(
    searches: Sequence[Asked], known: Known, processes: int, minutes: float, further: int
) -> None:
    """Search and judge what is not known yet; begin nothing new after so many minutes."""
    began = time.perf_counter()
    waiting: deque[Asked | Judged] = deque(s for s in searches if s.key not in known.searches)
    seen: set[Judged] = set()

    def judge(search: Asked) -> None:
        runs = [run for run in known.missing(search, further) if run not in seen]
        seen.update(runs)
        waiting.extendleft(reversed(runs))

    for search in reversed(searches):
        if search.key in known.searches:
            judge(search)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=prepare) as pool:
        running: dict[Future[tuple[Any, float]], Asked | Judged] = {}
        while True:
            in_time = time.perf_counter() - began < 60 * minutes
            while in_time and waiting and len(running) < processes:
                job = waiting.popleft()
                running[pool.submit(_timed, job)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                result, seconds = future.result()
                known.keep(job, result)
                if isinstance(job, Asked):
                    judge(job)
                passed = (time.perf_counter() - began) / 60
                what = f"{job.key} on seed {job.seed}" if isinstance(job, Judged) else job.key
                left = f"{len(waiting)} wait" if in_time else "out of time"
                print(f"{passed:.1f} min: {what} took {seconds:.0f} s; {left}", file=sys.stderr)


# What came of it


class Row(NamedTuple):
    """The searches of one way on one task up to one mark, as far as they are judged."""

    searches: int
    nothing: int
    """Searches that had nothing to hand over yet; they count in no mean."""
    mean: float
    error: float
    worst: float
    collapsing: float
    stated: float
    luck: float
    """What is stated too much for the very images that the searches read."""

    @property
    def high(self) -> float:
        return self.mean + (self.error if self.searches > 1 else 0)

    @property
    def low(self) -> float:
        return self.mean - (self.error if self.searches > 1 else 0)


def row_of(known: Known, searches: Sequence[Asked], mark: int) -> Row | None:
    """Return what searches were worth at a mark; `None` where nothing is known."""
    found = [search for search in searches if search.key in known.searches]
    nothing = sum(str(mark) not in known.searches[search.key] for search in found)
    judged = [verdict for search in found if (verdict := known.judged(search, mark))]
    if not judged:
        return Row(0, nothing, *[math.nan] * 6) if nothing else None
    means = [fmean(verdict.values) for verdict in judged]
    return Row(
        searches=len(judged),
        nothing=nothing,
        mean=fmean(means),
        error=stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan,
        worst=min(min(verdict.values) for verdict in judged),
        collapsing=fmean(min(verdict.values) < COLLAPSED for verdict in judged),
        stated=fmean(verdict.stated for verdict in judged),
        luck=fmean([v.stated - v.read for v in judged if not math.isnan(v.read)] or [math.nan]),
    )


def show_further(known: Known, searches: Sequence[Asked], seeds: Sequence[int]) -> None:
    """Print what searches handed over in the end comes to on further seeds."""
    print(
        f"\n| task | search | searches | mean on {len(seeds)} further seeds | runs that collapse |"
    )
    print("|---|---|---|---|---|")
    for (task, arm), group in _groups(searches).items():
        verdicts = [known.judged(search, search.epochs, seeds) for search in group]
        values = [verdict.values for verdict in verdicts if verdict]
        if len(values) > 1:
            means = [fmean(each) for each in values]
            error = stdev(means) / math.sqrt(len(means))
            share = fmean(value < COLLAPSED for each in values for value in each)
            mean = f"{fmean(means):.4f} ± {error:.4f}"
            print(f"| {task} | {arm} | {len(values)} | {mean} | {share:.1%} |")


def _groups(searches: Sequence[Asked]) -> dict[tuple[str, str], list[Asked]]:
    """Return searches by task and way."""
    groups: dict[tuple[str, str], list[Asked]] = {}
    for search in searches:
        groups.setdefault((search.task, search.arm), []).append(search)
    return groups


Table = dict[str, dict[str, dict[int, Row]]]
"""By task, way and mark."""


def table_of(known: Known, searches: Sequence[Asked]) -> Table:
    """Return all that is known of some searches."""
    table: Table = {}
    for (task, arm), group in _groups(searches).items():
        rows = {mark: row_of(known, group, mark) for mark in group[0].marks}
        if found := {mark: row for mark, row in rows.items() if row}:
            table.setdefault(task, {})[arm] = found
    return table


HEAD = (
    *("search", "epochs", "searches", "true mean", "worst seed", "collapse"),
    *("stated − true", "the same on the images read"),
)


def show(table: Table) -> None:
    """Print a table for each task."""
    for task, arms in table.items():
        print(f"\n**{task}**\n")
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        for arm, rows in arms.items():
            for mark, row in rows.items():
                print(f"| {arm} | {mark} | {' | '.join(_cells(row))} |")


def _cells(row: Row) -> list[str]:
    searches = f"{row.searches}" + (f" (+ {row.nothing} with nothing)" if row.nothing else "")
    if not row.searches:
        return [searches, *["—"] * 5]
    return [
        searches,
        f"{row.mean:.4f}" + (f" ± {row.error:.4f}" if row.searches > 1 else ""),
        f"{row.worst:.3f}",
        f"{row.collapsing:.0%}",
        f"{100 * (row.stated - row.mean):+.1f} pp",
        "—" if math.isnan(row.luck) else f"{100 * row.luck:+.1f} pp",
    ]


DEPTH = 0.3
"""How far below the best a panel reaches; what lies lower is in the tables."""
DRAWN = 3
"""Searches that are needed for a way of searching to be drawn."""
PANELS = 3
"""In a row of the picture."""


def draw(table: Table, size: str) -> Figure:
    """Draw what is handed over and what is stated against epochs, a panel for each task."""
    cols = min(PANELS, len(table))
    lines = math.ceil(len(table) / cols)
    drawn = make_subplots(
        rows=lines,
        cols=cols,
        subplot_titles=list(table),
        horizontal_spacing=0.07,
        vertical_spacing=0.3 / lines,
        figure=figure("What searches hand over"),
    )
    ways = [arm for arm in ARMS if any(arm in arms for arms in table.values())]
    for place, arms in enumerate(table.values()):
        where = {"row": place // cols + 1, "col": place % cols + 1}
        most = max(row.searches for rows in arms.values() for row in rows.values())
        least = max(1, min(DRAWN, most))  # where none has so many yet, what there is
        shown = {
            arm: known
            for arm, rows in arms.items()
            if (known := {m: row for m, row in rows.items() if row.searches >= least})
        }
        for arm, rows in shown.items():
            index = ways.index(arm)
            shift = 2 ** (0.07 * (index - (len(ways) - 1) / 2))  # or intervals hide each other
            line = {"color": HUES[index % len(HUES)], "dash": DASHES[index % len(DASHES)]}
            stated = [row.stated for row in rows.values()]
            for y, extra in (
                (
                    [row.mean for row in rows.values()],
                    {
                        "error_y": {"array": [row.error for row in rows.values()], "width": 2},
                        "mode": "lines+markers",
                        "line": line,
                        "marker": {"size": 6},
                        "showlegend": all(trace.legendgroup != arm for trace in drawn.data),
                    },
                ),
                (
                    stated,
                    {
                        "mode": "markers",
                        "marker": {"symbol": "line-ew-open", "size": 9, "color": line["color"]},
                        "showlegend": False,
                    },
                ),
            ):
                x = [mark * shift for mark in rows]
                drawn.add_trace(Scatter(x=x, y=y, name=arm, legendgroup=arm, **extra), **where)
        every = [row for rows in shown.values() for row in rows.values()]
        top = max(max(row.high, row.stated) for row in every)
        bottom = max(min(row.low for row in every), max(row.mean for row in every) - DEPTH)
        margin = 0.05 * (top - bottom)
        marks = sorted({mark for rows in arms.values() for mark in rows})
        drawn.update_yaxes(range=[bottom - margin, top + margin], **where)
        ends = [math.log10(0.8 * marks[0]), math.log10(1.25 * marks[-1])]
        title = {"text": "epochs spent", "standoff": 5}
        drawn.update_xaxes(type="log", range=ends, tickvals=marks, title=title, **where)
    drawn.update_yaxes(title="accuracy", col=1)
    drawn.update_annotations(font={"size": 13})  # the panels' titles
    drawn.update_layout(
        width=max(720, 140 + 330 * cols),
        height=175 + 300 * lines,
        legend={"orientation": "h", "x": 0, "y": -0.32 / lines, "yanchor": "top"},
    )
    note(drawn, f"{size}; points: true mean and standard error; dashes: what the searches state")
    drawn.update_layout(margin={"t": 130, "b": 20})
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="that each search may spend")
    parser.add_argument("--full", action="store_true", help="all images, 10 epochs")
    parser.add_argument("--processes", type=int, default=cpu_count())
    parser.add_argument("--minutes", type=float, default=math.inf, help="then begin nothing new")
    parser.add_argument("--file", type=Path, default=Path("studies/search.json"))
    parser.add_argument(
        "--further",
        type=int,
        default=0,
        help="judge what is handed over last on so many seeds more",
    )
    parser.add_argument("--table", action="store_true", help="only show what is known")
    parser.add_argument("--again", action="store_true", help="search anew: lrsearch has changed")
    parser.add_argument("--picture", type=Path, help="FILE.png")
    options = parser.parse_args()
    budget = options.epochs or (FULL_BUDGET if options.full else QUICK_BUDGET)
    searches = [
        Asked(task, options.full, budget, arm, repeat)
        for task in options.tasks
        for repeat in range(options.repeats)
        for arm in options.arms
    ]
    known = Known(options.file)
    if options.again:
        known.forget(searches)
    if not options.table:
        run(searches, known, options.processes, options.minutes, options.further)
    table = table_of(known, searches)
    show(table)
    if options.further:
        show_further(known, searches, further_seeds(options.further))
    if options.picture and table:
        images = "all images" if options.full else f"{QUICK_IMAGES:,} images"
        epochs = FULL_EPOCHS if options.full else QUICK_EPOCHS
        drawn = draw(table, f"full run: {epochs} epochs of {images}")
        drawn.write_image(options.picture, scale=2)


if __name__ == "__main__":
    main()
