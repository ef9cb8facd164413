"""How a study comes to be: checked against its task, then stored, or found there the same."""

from __future__ import annotations

import warnings
from typing import Any
from uuid import uuid4

import optuna
from optuna.trial import TrialState

from lrsearch.errors import StudyError
from lrsearch.schedules import Schedule
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
from lrsearch.study.checks import check_task
from lrsearch.study.earlier import earlier_trials
from lrsearch.study.open import open_study
from lrsearch.study.results import Attribute
from lrsearch.study.spec import StudySpec
from lrsearch.study.study import DATA_CHECKSUM, EARLIER, HORIZONS, SETTINGS, SPEC, VERSIONS, Study
from lrsearch.study.trust import vouch
from lrsearch.study.versions import installed_versions
from lrsearch.tasks import (
    Task,
    clock_of,
)


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
