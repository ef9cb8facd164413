"""Whether a study fits its task: by what both say, and by an epoch trained for proof."""

from __future__ import annotations

from collections.abc import Iterable

from lrsearch.errors import SpecError, nearest
from lrsearch.schedules import Schedule, families, is_degenerate
from lrsearch.study.spec import StudySpec
from lrsearch.tasks import (
    Progress,
    Task,
    can_adjust,
    can_prepend,
    check_protocol,
    clock_of,
    first_progress,
)

MIN_LEASE = 5.0
"""Seconds of the shortest lease that a new study may have."""
MAX_NAME = 480
"""Characters of a new study's name: Optuna keeps 512, and confirmations add a few."""


def check_task(spec: StudySpec, task: Task) -> None:
    """Refuse a study whose metric, lease, warmup, horizons or given schedules do not fit its task.

    Raises:
        SpecError: naming the value and what would fit.
        TaskError: if no run could use the task.
    """
    check_protocol(task, repr(spec.task.run))
    names = getattr(task, "metric_names", None)
    if names is not None:
        _check_metric(spec, names)
    if len(spec.study.name) > MAX_NAME or not spec.study.name.isprintable():
        raise SpecError(
            f"study.name is {spec.study.name[:80]!r}: a name has at most {MAX_NAME} characters, "
            "none of them a control character; choose another"
        )
    if spec.workers.lease < MIN_LEASE:
        raise SpecError(
            f"workers.lease is {spec.workers.lease:g}, and must be at least {MIN_LEASE:g} seconds: "
            "workers say three times in it that they live, and may wait for each other to say so"
        )
    clock = clock_of(task)
    space = spec.search_space(getattr(task, "base_lr", None))
    space.check_run(clock.length, f"{clock.lr_every}s")
    if space.may_be("warmup_adjust") and not can_adjust(task):
        raise SpecError(
            f"space.warmup_adjust lengthens warmups as they train, and {spec.task.run!r} does not "
            "say that it does so (adjusts_warmup = True); leave it out"
        )
    if space.may_be("warmup_prepend") and not can_prepend(task):
        raise SpecError(
            f"space.warmup_prepend makes runs longer, and {spec.task.run!r} does not say that it "
            "trains those (prepends_warmup = True); leave it out"
        )
    spec.horizons(task.epochs, task.steps_per_epoch)
    for index, schedule in enumerate(spec.given_schedules(), 1):
        if is_degenerate(schedule, clock_of(task, schedule=schedule)):
            raise SpecError(
                f"[[schedules]] number {index} is all but zero over a run of {clock.total_steps} "
                "updates; change its parameters"
            )


def _check_metric(spec: StudySpec, names: Iterable[str]) -> None:
    if (metric := spec.study.metric) not in names:
        raise SpecError(
            f"study.metric is {metric!r}, which {spec.task.run!r} does not give; "
            f"{nearest(metric, names)}"
        )


def rehearse(spec: StudySpec, task: Task, device: str) -> None:
    """Train one epoch of a task of one's own, so that its mistakes show before the first trial.

    Raises:
        SpecError: if the task does not give the study's metric.
        TaskError: if its epoch fails, breaks the protocol, or is not finite.
    """
    if first := first_epoch(spec, task, device):
        _check_metric(spec, first.metrics)


def first_epoch(
    spec: StudySpec, task: Task, device: str, *, epochs: int | None = None
) -> Progress | None:
    """Train one epoch of a task of one's own at the lowest rate, and return what it shows.

    It is the first of a run of so many `epochs`; of a trial's first run, if left out. `None` for a
    task that our own loop trains, which needs no such proof.

    Raises:
        TaskError: if its epoch fails, breaks the protocol, or is not finite.
    """
    from lrsearch.tasks import Supervised

    name = repr(spec.task.run)
    check_protocol(task, name)
    if isinstance(task, Supervised):
        return None
    space = spec.search_space(getattr(task, "base_lr", None))
    lowest = min(space.domain("base_lr").extremes())
    return first_progress(
        task,
        Schedule(families["constant"](), lowest),
        epochs=epochs or spec.horizons(task.epochs, task.steps_per_epoch)[0],
        seed=spec.study.seed,
        device=device,
        name=name,
    )
