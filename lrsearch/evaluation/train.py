"""Training once with a schedule: the shortest way from a search to a trained network."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FixedTrial

from lrsearch.errors import StudyError, TaskError
from lrsearch.schedules import Schedule
from lrsearch.storage import EpochMetrics
from lrsearch.study import Study
from lrsearch.tasks import Progress, Task, run_task

MODEL_ENDINGS = (".safetensors", ".pt")
"""Of a file with a network's tensors alone, and of one with all of a task's state."""


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
        ScheduleError: if its warmup is yet to be adjusted, as only a trial does.
    """
    schedule.check_settled()
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
        row = EpochMetrics(0, 0, progress.epoch, step, lr, metrics, progress.curve)
        yield row, progress


def model_path(progress: Progress, path: Path | None) -> Path:
    """Return where a run's model is to be saved: `path`, else by what its task's state holds.

    A task says what it captures only after an epoch.

    Raises:
        TaskError: if the task has no state to save, or none that the path's ending takes.
    """
    if progress.capture is None:
        raise TaskError(
            "the task's Progress has no `capture`, so there is no model to keep; "
            "give what the training needs to go on"
        )
    named = isinstance(progress.capture().get("network"), Mapping)
    if path is None:
        return Path("model").with_suffix(MODEL_ENDINGS[0 if named else 1])
    if path.suffix == MODEL_ENDINGS[0] and not named:
        raise TaskError(
            f"{path} holds a 'network' (a state_dict), which the task's state does not have; "
            "save all of it with -o FILE.pt"
        )
    return path


def save_model(progress: Progress, path: Path) -> None:
    """Save the network of a run as safetensors, or all of its state for torch, whole or not at all.

    Raises:
        TaskError: see `model_path`.
    """
    import torch
    from safetensors.torch import save

    path = model_path(progress, path)
    state = progress.capture() if progress.capture else {}
    unfinished = path.with_name(f"{path.name}.part")
    if path.suffix == MODEL_ENDINGS[0]:
        tensors = {name: tensor.contiguous() for name, tensor in state["network"].items()}
        unfinished.write_bytes(save(tensors))  # not `save_file`, which no other user could read
    else:
        torch.save(state, unfinished)
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
