"""Make the record of real learning curves that `replay.py` searches in.

    python -m tests.benchmarks.record momentum adam mlp

Each is a fixed random design of schedules from `studies/record.toml`, none pruned: first the search
itself (every horizon on one seed), then the full run of the better half again on further seeds.
It may be broken off at any time and goes on where it stopped. The result is one table each,
`studies/record/NAME.csv`: a row for each epoch of each run of each trial.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from torch import nn

from lrsearch.storage import open_storage, read_metrics
from lrsearch.study import Study, StudySpec, TrialRecord, create_study
from lrsearch.tasks import load_task, slots
from lrsearch.worker import Processes, run_workers

STUDIES = Path(__file__).parents[2] / "studies"
COLUMNS = ("trial", "seed", "horizon", "epoch", "val_accuracy", "schedule")

RECORDS: dict[str, dict[str, Any]] = {
    "momentum": {"seeds": 2},
    "adam": {
        "trials": 40,
        "seeds": 1,
        "task": {"optimizer": {"name": "adam"}},
        "space": {"base_lr": {"low": 3e-5, "high": 1.6e-2, "log": True}},
    },
    "mlp": {"trials": 40, "seeds": 2, "task": {"model": "tests.benchmarks.record:mlp"}},
}
"""By name: what differs from `studies/record.toml`, and on how many further seeds it is run."""


def mlp() -> nn.Module:
    """Return a perceptron with two hidden layers and dropout: [B, 1, 28, 28] → [B, 10]."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)),
    )


def spec_of(name: str, **changes: dict[str, Any]) -> StudySpec:
    """Return the study of a record, with sections changed."""
    record = RECORDS[name]
    spec = StudySpec.from_toml(STUDIES / "record.toml").to_dict()
    spec["study"] |= {"name": f"record-{name}", "trials": record.get("trials", 160)}
    for section in ("task", "space"):
        spec[section] |= record.get(section, {})
    for section, change in changes.items():
        spec[section] = spec[section] | change if isinstance(change, dict) else change
    return StudySpec.from_dict(spec)


def train(url: str, spec: StudySpec, workers: int | None) -> Study:
    """Train what is left of a study."""
    study = create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    run_workers(study, url, Processes(slots("auto", workers)))
    return study


def better_half(study: Study) -> list[TrialRecord]:
    """Return the better half of the trials that were trained, the best first."""
    trained = [t for t in study.records() if t.duplicate_of is None and not t.degenerate]
    complete = [trial for trial in trained if trial.complete]
    return sorted(complete, key=lambda trial: -trial.final_value)[: (len(trained) + 1) // 2]


def rows_of(study: Study, seed: int, numbers: list[int]) -> list[dict[str, Any]]:
    """Return a row for each epoch that a study trained; its trial i is `numbers[i]` in the record.

    The schedule stands in the first row of each trial. A run that diverged ends in a NaN.
    """
    schedules = {t.number: json.dumps(t.schedule.to_dict()) for t in study.records()}
    rows = []
    for row in read_metrics(study.storage, study.study_id):
        diverged = not np.isfinite(list(row.metrics.values())).all()
        accuracy = math.nan if diverged else row.metrics["val_accuracy"]
        rows.append(
            {
                "trial": numbers[row.trial],
                "seed": seed,
                "horizon": study.horizons[row.run],
                "epoch": row.epoch,
                "val_accuracy": f"{accuracy:.4f}",
                "schedule": schedules.pop(row.trial, "") if seed == 0 else "",
            }
        )
    return rows


def make(name: str, url: str, workers: int | None) -> list[dict[str, Any]]:
    """Train a record, or what is left of it, and return its rows."""
    first = train(url, spec_of(name), workers)
    rows = rows_of(first, 0, list(range(first.target)))
    chosen = better_half(first)
    for seed in range(1, RECORDS[name]["seeds"] + 1):
        again = {"name": f"record-{name}-seed-{seed}", "trials": len(chosen), "seed": seed}
        spec = spec_of(
            name,
            study=again,
            pruning={"kind": "none", "horizons": None},
            schedules=[trial.schedule.to_dict() for trial in chosen],
        )
        rows += rows_of(train(url, spec, workers), seed, [trial.number for trial in chosen])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="+", choices=RECORDS)
    parser.add_argument("--storage", default="sqlite:///record.db")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--folder", type=Path, default=STUDIES / "record")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        rows = make(name, options.storage, options.workers)
        with (options.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{options.folder / name}.csv: {len(rows)} epochs")


if __name__ == "__main__":
    main()
