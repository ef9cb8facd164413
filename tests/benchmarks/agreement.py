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

import numpy as np

from lrsearch.confirm import read_confirmation
from lrsearch.devices import prepare_torch
from lrsearch.schedules import Cosine, Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage import open_storage
from lrsearch.study import Study, create_study, schedule_of
from lrsearch.tasks import Progress, load_task
from lrsearch.tasks.fashion_mnist import task
from lrsearch.tasks.pack import Pack
from lrsearch.worker import work

QUICK = Path(__file__).parents[2] / "studies" / "quick.toml"
EPOCHS, SUBSET, SCHEDULES = 5, 15_000, 32
FRESH = [11, 12, 13, 14, 15]


def final(asked: tuple[int, str, bool]) -> list[float]:
    """Return what each schedule comes to on a seed, in one pack or alone; NaN if it diverges."""
    seed, device, together = asked
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
    found = [np.nan] * SCHEDULES
    for told in rounds:
        for number, progress in told.items():
            found[number] = progress.metrics.get("val_accuracy", np.nan)
    return found


def show(alone: list[float], packed: list[float], second: list[float]) -> None:
    """Print how far schedules end from themselves alone, in a pack and on another seed."""
    print(f"{SCHEDULES} schedules: how far apart the validation accuracy ends, pp\n")
    print("| | median | three quarters are within | mean |\n|---|---|---|---|")
    for name, other in (("in a pack", packed), ("another seed", second)):
        apart = 100 * np.abs(np.subtract(other, alone))
        apart = apart[np.isfinite(apart)]
        middle, most = np.quantile(apart, [0.5, 0.75])
        print(f"| {name} | {middle:.2f} | {most:.2f} | {apart.mean():.2f} |")


def search(asked: tuple[int, str, int]) -> str:
    """Search twice from a seed, in packs and one at a time; return what the winners have to say."""
    seed, device, pack = asked
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        data = StudySpec.from_toml(QUICK).to_dict()
        found: dict[int, tuple[float, Schedule]] = {}
        for size in (1, pack):
            named = data["study"] | {"name": f"packs of {size}", "seed": seed}
            trial = _work(url, data | {"study": named}, device, size).best_trial()
            assert trial.value is not None
            found[size] = trial.value, schedule_of(trial)
        told = "; ".join(
            f"in packs of {size}: {schedule.shape.name} {schedule.base_lr:.3g}, {value:.4f}"
            for size, (value, schedule) in found.items()
        )
        winners = [schedule.to_dict() for _, schedule in found.values()]
        if winners[0] == winners[1]:
            return f"seed {seed}: {told}: the same"
        confirm = data | {
            "study": data["study"] | {"name": "both", "trials": 2 * len(FRESH)},
            "pruning": {"kind": "none"},
            "schedules": winners,
            "confirm": {"seeds": FRESH},
        }
        compared = read_confirmation(_work(url, confirm, device, pack)).comparison
        assert compared is not None
        other = 1 - compared.best
        behind = compared.difference[other]
        half = compared.difference_high[other] - behind
        apart = "cannot be told apart" if compared.indistinguishable[other] else "differ"
        return f"seed {seed}: {told}: {apart} ({100 * behind:.2f} ± {100 * half:.2f} pp)"


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
    asked = [(seed, options.device, options.pack) for seed in range(options.repeats)]
    with get_context("spawn").Pool(options.processes) as pool:
        runs = [(0, options.device, False), (0, options.device, True), (1, options.device, False)]
        show(*pool.map(final, runs, chunksize=1))
        print()
        for told in pool.imap(search, asked):
            print(told, flush=True)


if __name__ == "__main__":
    main()
