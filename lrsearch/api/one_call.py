"""`lrsearch.optimize`: search a task's learning-rate schedule, in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from lrsearch.api.progress import progress_bar
from lrsearch.api.search import STORAGE, Search, train_here
from lrsearch.errors import SpecError, StudyError, TaskError
from lrsearch.evaluation import find_answer
from lrsearch.storage import open_storage, storage_errors, study_names
from lrsearch.study import (
    Study,
    StudySpec,
    check_task,
    create_study,
    first_epoch,
    no_result,
    open_study,
    read_seconds,
    read_status,
    study_notes,
)
from lrsearch.tasks import IN_PROCESS, Task, slots
from lrsearch.worker import Factory

log = logging.getLogger(__name__)


def optimize(
    task: Task,
    trials: int = 30,
    *,
    metric: str | None = None,
    direction: str | None = None,
    name: str | None = None,
    storage: str = STORAGE,
    device: str = "auto",
    seed: int = 0,
    epochs: int | None = None,
    time: str | float | None = None,
    space: Mapping[str, Any] | None = None,
    sampler: Mapping[str, Any] | None = None,
    pruning: Mapping[str, Any] | None = None,
    callbacks: Sequence[Factory] = (),
    progress: bool = True,
) -> Search:
    """Search the learning-rate schedule of a task, with one worker in this process.

    The study is kept in the storage as by `lrsearch launch`, and `lrsearch status`, `report`,
    `export` and `dashboard` show it. Its task lives in this process, so it goes on only by a call
    with the same task and `name`; workers in other processes cannot import it. For several workers
    put the task into a module, write a study file and `lrsearch launch` it.

    Ctrl-C ends the search with a `KeyboardInterrupt`; what was trained is kept. Call it in the main
    thread, where signals can be handled.

    Args:
        task: what is trained; `lrsearch.integrations` makes one of a Lightning module, a
            transformers `Trainer`, a Keras model or a function.
        trials: how many schedules are tried; of a study that goes on, in all.
        metric: what they are compared by; else `val_accuracy` or `val_loss`, what the task gives.
        direction: "maximize" or "minimize"; else by the metric's name.
        name: of the study. One that is there goes on; without a name there is a new one each time.
        storage: where it is kept.
        device: "cpu", "cuda", or "auto": CUDA where there is a GPU.
        seed: of the search and of every trial's first runs.
        epochs: a budget of epochs in all.
        time: a budget of time, such as "2h", or in seconds.
        space: as `[space]` of a study file, such as `{"families": ["cosine", "wsd"],
            "base_lr": {"low": 1e-4, "high": 0.1, "log": True}}`.
        sampler: as `[sampler]` of a study file.
        pruning: as `[pruning]` of a study file.
        callbacks: each makes, of the study, what is told of every epoch and trial.
        progress: whether a bar shows how far it is.

    Raises:
        SpecError: if a value breaks its rule, or does not fit the task.
        TaskError: if the task breaks the protocol; its first epoch is tried before the first trial.
        StudyError: if a study of that name has another spec or task, or no trial has a result.

    Example:
        >>> import lrsearch
        >>> from lrsearch.integrations import function_task
        >>> def train(schedule, epochs, seed):
        ...     weight = 1.0 + seed / 100
        ...     for step in range(20 * epochs):
        ...         weight -= schedule.lr(step, 20 * epochs) * weight
        ...     return {"val_loss": abs(weight)}
        >>> search = lrsearch.optimize(
        ...     function_task(train, epochs=5, steps_per_epoch=20),
        ...     trials=5, storage="sqlite:////tmp/lrsearch-example.db", progress=False,
        ... )  # doctest: +SKIP
        >>> search.schedule  # doctest: +SKIP
        Schedule(family=Step(...), base_lr=0.12, warmup=None)
    """
    if not isinstance(task, Task):
        raise TaskError(
            f"lrsearch.optimize needs a task, but got a {type(task).__name__}; "
            "lrsearch.integrations makes one: function_task, lightning_task, trainer_task, "
            "keras_task"
        )
    place = slots(device, workers=1)[0].device
    there = open_storage(storage)
    names = study_names(there)
    known = open_study(there, name) if name in names else None
    kind = type(task).__name__
    study: dict[str, Any] = {
        "name": name or next(n for i in count(1) if (n := f"{kind.lower()}-{i}") not in names),
        "trials": known.spec.study.trials if known else trials,
        "epochs": epochs,
        "time": read_seconds(time),
        "metric": metric or (known.spec.study.metric if known else "?"),
        "seed": seed,
    }
    sections = {"sampler": sampler, "pruning": pruning}
    data = {
        "study": study | ({"direction": direction} if direction else {}),
        "task": {"run": f"{IN_PROCESS}:{kind}"},
        "space": dict(space or {}),
        **{key: dict(value) for key, value in sections.items() if value},
    }
    if known is None:
        data["study"]["metric"] = _tried(StudySpec.from_dict(data), task, place, metric)
    spec = StudySpec.from_dict(data)
    check_task(spec, task)
    with storage_errors(storage):
        created = create_study(there, spec, task)
        if known:
            _check_same(known, task)
            created.set_target(trials)
        for note in [] if known else study_notes(spec, task):
            log.info("%s", note)
        bars = [progress_bar] if progress else []
        train_here(created, storage, task, place, [*bars, *callbacks])
        if find_answer(created) is None:
            raise StudyError(no_result(read_status(created)))
    return Search(created, storage, task=task, device=place)


def _tried(spec: StudySpec, task: Task, device: str, metric: str | None) -> str:
    """Return the metric to compare by, after an epoch that shows what the task gives."""
    declared: Iterable[str] | None = getattr(task, "metric_names", None)
    first = first_epoch(spec, task, device)
    names = list(first.metrics if first else declared or ())
    if metric is None:
        validated = [name for name in names if name.startswith("val_")]
        for usual in ("val_accuracy", "val_loss", *(validated or names)[:1]):
            if usual in names:
                return usual
    if metric not in names:
        raise SpecError(
            f"metric is {metric!r}, which the task does not give; it gives {', '.join(names)}"
        )
    return metric


def _check_same(known: Study, task: Task) -> None:
    """Refuse to go on with a study whose task has another length or other data."""
    epochs = known.horizons[-1]
    checksum = getattr(task, "data_checksum", None)
    if task.epochs != epochs or (checksum and checksum != known.data_checksum):
        raise StudyError(
            f"study {known.name!r} was made with another task: its full run has {epochs} epochs "
            f"and this one's {task.epochs}, or the data differ; use another name"
        )
