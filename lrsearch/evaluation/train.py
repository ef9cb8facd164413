"""Training once with a schedule: the shortest way from a search to a trained network."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FixedTrial

from lrsearch.errors import StudyError, TaskError
from lrsearch.schedules import Schedule
from lrsearch.storage import EpochMetrics
from lrsearch.study import Study
from lrsearch.tasks import Progress, Task, run_task


def options_for(study: Study, schedule: Schedule) -> dict[str, Any]:
    """Return the task's options to train a schedule with; searched ones as its trial had them.

    Raises:
        StudyError: if the study searches options, and no trial of it has that schedule.
    """
    searched = [name for name in study.spec.space if name.startswith("task.")]
    if not searched:
        return study.spec.task_options()
    for trial in study.records():
        if trial.schedule == schedule:
            return study.spec.task_options(FixedTrial(dict(trial.params)))
    raise StudyError(
        f"study {study.name!r} searched {', '.join(searched)}, and no trial of it has this "
        "schedule to take the values from; fix them in a study file of your own"
    )


def train(
    task: Task, schedule: Schedule, *, seed: int, device: str
) -> Iterator[tuple[EpochMetrics, Progress]]:
    """Train the full run and yield after each epoch; after the last with the test set's metrics.

    Raises:
        TaskError: if the loss is no longer finite.
    """
    for progress in run_task(task, schedule, epochs=task.epochs, seed=seed, device=device):
        step, lr = progress.place(schedule, task, task.epochs)
        if progress.diverged:
            raise TaskError(
                f"training diverged in epoch {progress.epoch} at update {step}, lr {lr:.4g}; "
                "try another seed, or a schedule with a lower base_lr"
            )
        metrics = dict(progress.metrics)
        if progress.epoch == task.epochs and progress.test:
            metrics |= progress.test()
        yield EpochMetrics(0, 0, progress.epoch, step, lr, metrics), progress


def save_model(progress: Progress, path: Path) -> None:
    """Save the network of a run as safetensors, whole or not at all.

    Raises:
        TaskError: if the task's state holds no `network` (name → tensor).
    """
    from safetensors.torch import save_file

    network = (progress.capture() if progress.capture else {}).get("network")
    if not network:
        raise TaskError(
            "the task's state holds no 'network' (a state_dict) to save; see Progress.capture"
        )
    unfinished = path.with_name(f"{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in network.items()}, unfinished)
    unfinished.replace(path)


def save_curve(rows: Sequence[EpochMetrics], path: Path) -> None:
    """Save epoch, update, learning rate and metrics of each epoch as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("epoch", "step", "lr", *names))
        for row in rows:
            values = (row.metrics.get(name, "") for name in names)
            writer.writerow((row.epoch, row.step, row.lr, *values))
