"""Whether trials that train together come to what they come to alone.

    python -m tests.benchmarks.agreement --pack 8 --repeats 3

LeNet with momentum on a part of FashionMNIST, single precision. First 32 schedules, in one pack and
each alone: how far their final accuracies lie apart, beside how far another seed would move them.
Then whole searches from the same seeds, in packs and one trial at a time: each ends with its best
schedule, and where these differ both are confirmed on the same fresh seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrsearch.evaluation import read_confirmation
from lrsearch.schedules import Cosine, Schedule
from lrsearch.storage import open_storage
from lrsearch.study import Study, StudySpec, create_study
from lrsearch.tasks import Progress, load_task, prepare_torch
from lrsearch.tasks.fashion_mnist import task
from lrsearch.tasks.packs import Pack
from lrsearch.worker import work

QUICK = Path(__file__).parents[2] / "studies" / "quick.toml"
EPOCHS, SUBSET, SCHEDULES = 5, 15_000, 32
FRESH = [11, 12, 13, 14, 15]


class FinalConfig(NamedTuple):
    """What trains some schedules: from which seed, where, and whether in one pack."""

    seed: int
    device: str
    together: bool


class SearchConfig(NamedTuple):
    """What is searched twice: from which seed, where, and so many in a pack."""

    seed: int
    device: str
    pack: int


def final(config: FinalConfig) -> list[float]:
    """Return what each schedule comes to on a seed, in one pack or alone; NaN if it diverges."""
    seed, device, together = config
    prepare_torch(device)
    made = task(epochs=EPOCHS, subset=SUBSET)
    schedules = [Schedule(Cosine(), 1e-3 * 100 ** (k / (SCHEDULES - 1))) for k in range(SCHEDULES)]
    rounds: Iterator[dict[int, Progress]]
    if together:
        rounds = Pack(made, schedules, epochs=EPOCHS, seed=seed, device=device).run()
    else:
        rounds = (
            {number: progress}
            for number, schedule in enumerate(schedules)
            for progress in made.run(schedule, epochs=EPOCHS, seed=seed, device=device)
        )
    accuracies = [np.nan] * SCHEDULES
    for epoch in rounds:
        for number, progress in epoch.items():
            accuracies[number] = progress.metrics.get("val_accuracy", np.nan)
    return accuracies


def show(alone: list[float], packed: list[float], second: list[float]) -> None:
    """Print how far schedules end from themselves alone, in a pack and on another seed."""
    print(f"{SCHEDULES} schedules: how far apart the validation accuracy ends, pp\n")
    print("| | median | three quarters are within | mean |\n|---|---|---|---|")
    for name, other in (("in a pack", packed), ("another seed", second)):
        apart = 100 * np.abs(np.subtract(other, alone))
        apart = apart[np.isfinite(apart)]
        middle, most = np.quantile(apart, [0.5, 0.75])
        print(f"| {name} | {middle:.2f} | {most:.2f} | {apart.mean():.2f} |")


def search(config: SearchConfig) -> str:
    """Search twice from a seed, in packs and one at a time; return how the winners compare."""
    seed, device, pack = config
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        data = StudySpec.from_toml(QUICK).to_dict()
        best: dict[int, tuple[float, Schedule]] = {}
        for size in (1, pack):
            named = data["study"] | {"name": f"packs of {size}", "seed": seed}
            trial = _work(url, data | {"study": named}, device, size).best()
            assert trial.value is not None
            assert trial.schedule is not None
            best[size] = trial.value, trial.schedule
        winners = "; ".join(
            f"in packs of {size}: {schedule.family.name} {schedule.base_lr:.3g}, {value:.4f}"
            for size, (value, schedule) in best.items()
        )
        schedules = [schedule.to_dict() for _, schedule in best.values()]
        if schedules[0] == schedules[1]:
            return f"seed {seed}: {winners}: the same"
        confirm = data | {
            "study": data["study"] | {"name": "both", "trials": 2 * len(FRESH)},
            "pruning": {"kind": "none"},
            "schedules": schedules,
            "confirm": {"seeds": FRESH},
        }
        compared = read_confirmation(_work(url, confirm, device, pack)).comparison
        assert compared is not None
        other = 1 - compared.best
        behind = compared.difference[other]
        half = compared.difference_high[other] - behind
        apart = "cannot be told apart" if compared.indistinguishable[other] else "differ"
        return f"seed {seed}: {winners}: {apart} ({100 * behind:.2f} ± {100 * half:.2f} pp)"


def _work(url: str, data: dict[str, object], device: str, pack: int) -> Study:
    spec = StudySpec.from_dict(data)
    study = create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    work(url, study.name, device, pack=pack)
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pack", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="searches")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    device = options.device
    searches = [SearchConfig(seed, device, options.pack) for seed in range(options.repeats)]
    with get_context("spawn").Pool(options.processes) as pool:
        runs = [FinalConfig(0, device, together) for together in (False, True)]
        show(*pool.map(final, [*runs, FinalConfig(1, device, False)], chunksize=1))
        print()
        for line in pool.imap(search, searches):
            print(line, flush=True)


if __name__ == "__main__":
    main()
