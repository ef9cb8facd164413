"""How a study comes to be: checked against its task, then stored, or found there the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import optuna
from optuna.trial import TrialState

from lrsearch.errors import SpecError, StudyError, nearest
from lrsearch.schedules import Schedule, families, is_degenerate
from lrsearch.storage import (
    Storage,
    StudyRow,
    creating_alone,
    forget_study,
    insert_study,
    read_study,
    study_id_of,
    study_names,
)
from lrsearch.study.earlier import earlier_trials
from lrsearch.study.open import open_study
from lrsearch.study.results import Attribute
from lrsearch.study.sections import usual_direction
from lrsearch.study.spec import StudySpec
from lrsearch.study.study import DATA_CHECKSUM, EARLIER, HORIZONS, SETTINGS, SPEC, VERSIONS, Study
from lrsearch.study.trust import vouch
from lrsearch.study.versions import installed_versions
from lrsearch.tasks import (
    WORTH_FROM,
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


def create_study(
    storage: Storage, spec: StudySpec, task: Task, earlier: Study | None = None
) -> Study:
    """Create the study that `spec` describes, or open it if it is there with the same spec.

    Who does so vouches for the code that it names (`lrsearch.study.trust`).

    Args:
        storage: where the study is to live.
        spec: what the study is.
        task: the task that `spec` names, with its options.
        earlier: a study whose trials the sampler is to learn from; not where it is there already.

    Raises:
        SpecError: if spec and task do not fit; then nothing is written.
        StudyError: if a study of that name has another spec, or is not lrsearch's.
    """
    check_task(spec, task)
    name = spec.study.name
    known: dict[str, Any] = {}
    if earlier and name not in study_names(storage):
        known = {"study": earlier.name, "trials": earlier_trials(earlier, spec, task)}
    with creating_alone(storage):
        study = optuna.create_study(
            storage=storage, study_name=name, direction=spec.study.direction, load_if_exists=True
        )
        begun = read_study(storage, study_id_of(study)) is not None
        if not (begun and SPEC in study.user_attrs):
            _fill(storage, study, spec, task, known)
    created = open_study(storage, name)
    if changed := created.spec.differences(spec):
        raise StudyError(
            f"study {name!r} exists with another spec; what differs: {'; '.join(changed)}. "
            "Give the changed study a new name (for more trials use --trials)"
        )
    vouch(created)
    return created


def _fill(
    storage: Storage, study: optuna.Study, spec: StudySpec, task: Task, known: dict[str, Any]
) -> None:
    """Store all that belongs to a new study, also where an earlier attempt broke off."""
    given = _given(spec)
    trials = study.get_trials(deepcopy=False)
    if len(trials) > len(given) or any(trial.state != TrialState.WAITING for trial in trials):
        raise StudyError(
            f"study {study.study_name!r} exists and was not made by lrsearch; use another name"
        )
    total_steps = clock_of(task).length
    space = spec.search_space(getattr(task, "base_lr", None))
    for attrs in given[len(trials) :]:
        # where the space holds it, the sampler learns from it as from any other
        params = space.params(Schedule.from_dict(attrs[Attribute.GIVEN]), total_steps) or {}
        if spec.confirm and spec.confirm.options:
            params |= spec.confirm.options[attrs[Attribute.ENTRY]]
        study.enqueue_trial(params, user_attrs=attrs)
    study_id = study_id_of(study)
    forget_study(storage, study_id)
    with warnings.catch_warnings():  # Optuna calls the names of metrics experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.study.metric])
    if known:
        study.set_user_attr(EARLIER, known)
    study.set_user_attr(SPEC, spec.to_dict())
    study.set_user_attr(HORIZONS, spec.horizons(task.epochs, task.steps_per_epoch))
    if checksum := getattr(task, "data_checksum", None):
        study.set_user_attr(DATA_CHECKSUM, checksum)
    if settings := getattr(task, "settings", None):
        study.set_user_attr(SETTINGS, settings)
    study.set_user_attr(VERSIONS, installed_versions())
    files = f"study-{study_id}-{uuid4().hex[:8]}"  # never used again, unlike the id
    insert_study(
        storage,
        study_id,
        StudyRow(files, spec.study.trials, epochs=spec.study.epochs, seconds=spec.study.time),
    )


def _given(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the attributes of the trials that are given: each schedule, or each on every seed."""
    if spec.confirm is None:
        return [{Attribute.GIVEN: schedule.to_dict()} for schedule in spec.given_schedules()]
    return [
        {Attribute.GIVEN: schedule.to_dict(), Attribute.ENTRY: entry, Attribute.SEED: seed}
        for seed in spec.confirm.seeds
        for entry, schedule in enumerate(spec.given_schedules())
    ]


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


def study_notes(spec: StudySpec, task: Task) -> list[str]:
    """Return what a study chooses by itself for a task, and why, a sentence each."""
    notes = []
    metric, direction = spec.study.metric, spec.study.direction
    if direction != (usual := usual_direction(metric)):
        notes.append(f"{metric} is {direction}d, as study.direction says; most {usual} it")
    elif direction == "minimize" and "direction" not in spec.study.model_fields_set:
        notes.append(f"{metric} is minimized, by its name; if more is better: study.direction")
    clock = clock_of(task)
    horizons = spec.horizons(task.epochs, task.steps_per_epoch)
    if spec.climbs and getattr(spec.pruning, "horizons", None) is None:
        if len(horizons) > 1:
            notes.append(
                f"trials train {horizons[0]} of {task.epochs} epochs first "
                f"({horizons[0] * task.steps_per_epoch} updates), and the best go on"
                + (f"; {horizons[1]}, if that says too little" if len(horizons) > 2 else "")
                + "; other lengths: pruning.horizons"
            )
        else:
            notes.append("the run is too short for a shorter one first: trials train in full")
    space = spec.search_space(getattr(task, "base_lr", None))
    if clock.lr_every == "epoch" and space.warmup_steps(clock.length) is None:
        notes.append(
            f"the rate changes once an epoch, and {clock.length} epochs are too few to search "
            "warmups of 10 and more; give space.warmup_steps in epochs to search them"
        )
    if "task.batch_size" in spec.searched_options:
        notes.append(
            "task.batch_size is searched with one domain of base_lr for all sizes, though the best "
            "rate grows with the size; a fair comparison searches each size by itself"
        )
    for option, least in WORTH_FROM.items():
        name, trials = f"task.optimizer.{option}", spec.study.trials
        if name in spec.searched_options and trials < least:
            notes.append(
                f"{name} is searched with {trials} trials; the tuning playbook does so from "
                f"{least} on, and has the rate searched first, then 1 - β₁, ε, 1 - β₂"
            )
    return notes
