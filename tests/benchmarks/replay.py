"""Search in a record of real learning curves instead of training: thousands of times faster.

    python -m tests.benchmarks.replay momentum adam mlp

Optuna's own samplers and pruners and the trials of the workers run as they always do; only the
task looks its numbers up. Each rule of pruning meets the recorded schedules in the same random
orders. A search ends with the best trial of those that it trained in full, on the seed it saw; it
is judged by the mean over all seeds of the record. A schedule that diverged on any seed has lost.

cost: epochs, as a share of training every schedule in full. regret: how far the schedule that a
search ends with lies below the best one, in percentage points. best kept: searches that trained the
best schedule in full. in top 3: searches that end with one of the best three.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from scipy.stats import bootstrap

from lrsearch.schedules import Schedule
from lrsearch.search import Climb, Standing, rungs_of
from lrsearch.study import StudySpec
from lrsearch.tasks import Progress
from lrsearch.worker import StudyTasks
from tests.in_process import CountingRecorder, pruner_of, train_trial

FOLDER = Path(__file__).parents[2] / "studies" / "record"


@dataclass(frozen=True)
class Record:
    """A record: schedules by trial, and accuracies per epoch by (trial, seed, horizon)."""

    schedules: dict[int, Schedule]
    curves: dict[tuple[int, int, int], list[float]]

    @classmethod
    def read(cls, path: Path) -> Record:
        schedules, curves = {}, defaultdict(list)
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                trial = int(row["trial"])
                if row["schedule"]:
                    schedules[trial] = Schedule.from_dict(json.loads(row["schedule"]))
                key = trial, int(row["seed"]), int(row["horizon"])
                curves[key].append(float(row["val_accuracy"]))
        return cls(schedules, dict(curves))

    def curve(self, trial: int, seed: int, horizon: int) -> list[float]:
        """Return the accuracies of a run; what diverged on a shorter horizon ran no further."""
        return self.curves.get((trial, seed, horizon), [np.nan])

    @cached_property
    def epochs(self) -> int:
        return max(horizon for _, _, horizon in self.curves)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {_key(schedule): number for number, schedule in self.schedules.items()}

    @cached_property
    def means(self) -> dict[int, float]:
        """By trial, the mean final accuracy over all seeds; 0 where it diverged on any."""
        finals: dict[int, list[float]] = {trial: [] for trial in self.schedules}
        for (trial, _, horizon), curve in self.curves.items():
            if horizon == self.epochs:
                ended = len(curve) == horizon and np.isfinite(curve).all()
                finals[trial].append(curve[-1] if ended else -np.inf)
        means = {trial: float(np.mean(values or [-np.inf])) for trial, values in finals.items()}
        return {trial: mean if np.isfinite(mean) else 0.0 for trial, mean in means.items()}

    @cached_property
    def ranked(self) -> list[int]:
        return sorted(self.means, key=lambda trial: -self.means[trial])


def _key(schedule: Schedule) -> str:
    return json.dumps(schedule.to_dict(), sort_keys=True)


@cache
def read(name: str) -> Record:
    return Record.read(FOLDER / f"{name}.csv")


class Recorded:
    """The task of a record: a run yields what was recorded of it, on the search's seed."""

    steps_per_epoch = 100

    def __init__(self, record: str) -> None:
        self.record = read(record)
        self.epochs = self.record.epochs

    def run(
        self, schedule: Schedule, *, epochs: int, seed: int, device: str, state: Any = None
    ) -> Iterator[Progress]:
        number = self.record.numbers[_key(schedule)]
        for epoch, value in enumerate(self.record.curve(number, seed, epochs), 1):
            yield Progress(epoch, {"val_accuracy": value})


@dataclass(frozen=True)
class SearchOutcome:
    """What one search came to."""

    cost: float
    regret: float
    best_kept: bool
    in_top_3: bool


def search(name: str, pruning: dict[str, Any], order: int) -> SearchOutcome:
    """Search through a record's schedules in a random order."""
    record = read(name)
    numbers = np.random.default_rng(order).permutation(sorted(record.schedules)).tolist()
    spec = StudySpec.from_dict(
        {
            "study": {"name": name, "trials": len(numbers)},
            "task": {"run": "tests.benchmarks.replay:Recorded", "record": name},
            "space": {"families": ["constant"]},  # holds none of them: all are given
            "pruning": pruning,
        }
    )
    study = optuna.create_study(
        study_name=f"{name}-{order}",  # hyperband picks brackets by it
        direction="maximize",
        sampler=RandomSampler(seed=order),
        pruner=pruner_of(spec),
    )
    horizons = spec.horizons(record.epochs, Recorded.steps_per_epoch)
    tasks, recorder = StudyTasks(spec, spec.rungs(horizons)), CountingRecorder()
    complete: dict[int, float] = {}
    for number in numbers:
        study.enqueue_trial({}, user_attrs={"given": record.schedules[number].to_dict()})
        trial = study.ask()
        outcome = train_trial(tasks, trial, recorder)
        study.tell(trial, outcome.value, outcome.state)
        if outcome.state == TrialState.COMPLETE and outcome.value is not None:
            complete[number] = outcome.value
    return judge(record, recorder.epochs, complete)


def judge(record: Record, epochs: int, complete: dict[int, float]) -> SearchOutcome:
    """Judge a search by the schedule that was best in it, on the mean over seeds."""
    chosen = max(complete, key=lambda number: complete[number])
    best = record.ranked[0]
    return SearchOutcome(
        cost=epochs / (len(record.schedules) * record.epochs),
        regret=100 * (record.means[best] - record.means[chosen]),
        best_kept=best in complete,
        in_top_3=chosen in record.ranked[:3],
    )


def stop_after(name: str, epochs: int, full: int, order: int) -> SearchOutcome:
    """Train every schedule for some epochs of its full run, then the best few to the end."""
    record = read(name)
    rng = np.random.default_rng(order)  # among equals chance decides
    early, spent = {}, 0
    for number in record.schedules:
        curve = record.curve(number, 0, record.epochs)
        spent += min(epochs, len(curve))
        if len(curve) >= epochs and np.isfinite(curve[epochs - 1]):
            early[number] = (curve[epochs - 1], rng.random())
    promoted = sorted(early, key=lambda number: early[number], reverse=True)[:full]
    ends = {number: record.curve(number, 0, record.epochs) for number in promoted}
    complete = {number: curve[-1] for number, curve in ends.items() if len(curve) == record.epochs}
    spent += sum(len(curve) - epochs for curve in ends.values())
    return judge(record, spent, complete)


LEARNED = 0.2
"""The accuracy of a run on ten classes that has learned something."""


def climb(name: str, horizons: list[int], longer: int | None, order: int) -> SearchOutcome:
    """Search as a worker does now, on one seed: promoted late, with a longer horizon in reserve."""
    record = read(name)
    numbers = np.random.default_rng(order).permutation(sorted(record.schedules)).tolist()
    rules = Climb(rungs_of(horizons, seeds=1), reduction_factor=4, longer=longer)
    standings: list[Standing] = []
    complete: dict[int, float] = {}
    spent = 0
    while step := rules.step(standings, may_begin=len(standings) < len(numbers)):
        if step.number is None:
            standings.append(Standing(len(standings), (), "waiting"))
        place = len(standings) - 1 if step.number is None else step.number
        before = standings[place].values
        if step.rung is None:
            standings[place] = Standing(place, before, "ended")
            continue
        curve = record.curve(numbers[place], 0, rules.rungs[step.rung].epochs)
        spent += len(curve)
        if not np.isfinite(curve[-1]):
            standings[place] = Standing(place, before, "ended")
            continue
        values = (*before, *[None] * (step.rung - len(before)), curve[-1])
        standings[place] = Standing(place, values, "waiting", curve[-1] > LEARNED)
        if step.rung == rules.first_full:
            complete[numbers[place]] = curve[-1]
    return judge(record, spent, complete)


def _horizons(horizons: list[int], factor: float) -> dict[str, Any]:
    return {"kind": "horizons", "horizons": horizons, "reduction_factor": factor}


def _epochs(pruner: str, **options: Any) -> dict[str, Any]:
    return {"kind": "epochs", "pruner": pruner, **options}


RULES: dict[str, Callable[[str, int], SearchOutcome]] = {
    title: partial(lambda pruning, name, order: search(name, pruning, order), pruning)
    for title, pruning in {
        "none": {"kind": "none"},
        "median (Optuna's default)": _epochs("median"),
        "percentile 25": _epochs("percentile", percentile=25.0, n_warmup_steps=0),
        "percentile 75": _epochs("percentile", percentile=75.0, n_warmup_steps=1),
        "successive halving": _epochs("successive_halving"),
        "hyperband": _epochs("hyperband", max_resource=6),
        "horizons 1, 6; η 4": _horizons([1, 6], 4),
        "horizons 1, 6; η 5": _horizons([1, 6], 5),
        "horizons 2, 6; η 4": _horizons([2, 6], 4),
        "horizons 1, 2, 6; η 2": _horizons([1, 2, 6], 2),
        "horizons 1, 2, 6; η 3": _horizons([1, 2, 6], 3),
        "horizons 1, 2, 6; η 4": _horizons([1, 2, 6], 4),
    }.items()
} | {
    "1 epoch, then the best 5": lambda name, order: stop_after(name, 1, 5, order),
    "2 epochs, then the best 5": lambda name, order: stop_after(name, 2, 5, order),
    "rungs 1, 6; η 4": lambda name, order: climb(name, [1, 6], None, order),
    "rungs 1, 6; η 4, 2 in reserve (the default)": lambda name, order: climb(
        name, [1, 2, 6], 1, order
    ),
    "rungs 2, 6; η 4": lambda name, order: climb(name, [2, 6], None, order),
}


def _one(task: tuple[str, str, int]) -> SearchOutcome:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rule, name, order = task
    return RULES[rule](name, order)


def show(name: str, results: dict[str, list[SearchOutcome]]) -> None:
    """Print a record's table."""
    record = read(name)
    orders = len(next(iter(results.values())))
    print(
        f"\n**{name}**: {len(record.schedules)} schedules, {orders} random orders; "
        f"best by the mean over seeds {record.means[record.ranked[0]]:.4f}. 95 % intervals.\n"
    )
    print("| rule | cost | mean regret, pp | 90 % regret | best kept | in top 3 |")
    print("|---|---|---|---|---|---|")
    for rule, outcomes in results.items():
        regrets = np.array([outcome.regret for outcome in outcomes])
        cells = (
            f"{np.mean([outcome.cost for outcome in outcomes]):.2f}",
            f"{regrets.mean():.3f} {_interval(regrets, '.3f')}",
            f"{np.quantile(regrets, 0.9):.3f}",
            _share([outcome.best_kept for outcome in outcomes]),
            _share([outcome.in_top_3 for outcome in outcomes]),
        )
        print(f"| {rule} | {' | '.join(cells)} |", flush=True)


def _share(values: list[bool]) -> str:
    return f"{np.mean(values):.0%} {_interval(np.array(values, dtype=float), '.0%')}"


def _interval(values: np.ndarray, form: str) -> str:
    if np.ptp(values) == 0:
        return ""
    resampled = bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=2000)
    low, high = resampled.confidence_interval
    return f"({low:{form}} to {high:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", default=["momentum", "adam", "mlp"])
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    options = parser.parse_args()
    with Pool() as pool:
        for name in options.names:
            rules, orders = options.rules, range(options.orders)
            tasks = [(rule, name, order) for rule in rules for order in orders]
            searched = pool.map(_one, tasks, chunksize=10)
            results: dict[str, list[SearchOutcome]] = {rule: [] for rule in rules}
            for (rule, _, _), outcome in zip(tasks, searched, strict=True):
                results[rule].append(outcome)
            show(name, results)


if __name__ == "__main__":
    main()
