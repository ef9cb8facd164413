"""A study: made once, opened by its name; all that it needs is stored in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select, text, update

from lrsearch.errors import SpecError, StudyError, nearest
from lrsearch.identity import is_degenerate
from lrsearch.schedules import Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage import Storage, masked
from lrsearch.storage.leases import count_begun, lock_study
from lrsearch.storage.tables import forget, studies
from lrsearch.tasks import Task

SPEC = "lrsearch:spec"
"""The study attribute that holds the spec."""
HORIZONS = "lrsearch:horizons"
"""The study attribute that holds the epochs of each run of a trial; the last is the full run."""
DATA = "lrsearch:data"
"""The study attribute that holds the checksum of the data, where the task gives one."""
UNSTABLE_JUMP = 0.5
"""A loss that rises by this share of the run's first loss between two batches is unstable."""


class Study:
    """A study with its spec.

    Of a trial these user attributes are ours: `schedule` (JSON form) and `total_steps` of its full
    run; `given`, where the schedule was given and not searched; `entry` (its index among those
    given) and `seed`, where it is confirmed; `twin`, the number of the trial
    whose result it has, where its curve is the same; `degenerate`, where it would train nothing;
    `diverged` ({run, epoch, step, lr}); `error`, the message of what it failed by; `stability`
    ({grad_norm, loss_jump, loss_jump_step}).
    """

    def __init__(self, storage: Storage, study: optuna.Study, spec: StudySpec, files: Path) -> None:
        self.storage = storage
        self.optuna = study
        self.spec = spec
        self.files = files
        """The folder for its checkpoints and logs."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.optuna.study_name

    @property
    def study_id(self) -> int:
        """Optuna's id of the study."""
        return self.optuna._study_id

    def trial(self, trial_id: int, number: int) -> optuna.Trial:
        """Return a running trial, its sampler seeded by the study's seed and the trial's number.

        So neither a restart nor a second worker repeats or changes what is sampled.
        """
        self.optuna.sampler = _SeededByName(self.spec, number)
        self.optuna.get_trials(deepcopy=False)  # Optuna's cache must know the trial to write to it
        return optuna.Trial(self.optuna, trial_id)

    def best_trial(self) -> FrozenTrial:
        """Return the best complete trial.

        Raises:
            StudyError: if no trial is complete.
        """
        try:
            return self.optuna.best_trial
        except ValueError:
            raise StudyError(
                f"study {self.name!r} has no complete trial yet; let `lrsearch launch` finish one"
            ) from None

    def complete_trial(self, number: int) -> FrozenTrial:
        """Return the complete trial of that number.

        Raises:
            StudyError: if there is none, or it is not complete.
        """
        found = [trial for trial in self.optuna.get_trials() if trial.number == number]
        if not found:
            raise StudyError(f"study {self.name!r} has no trial {number}")
        if found[0].state != TrialState.COMPLETE:
            raise StudyError(
                f"trial {number} is {found[0].state.name.lower()}, not complete; choose another"
            )
        return found[0]

    @property
    def horizons(self) -> tuple[int, ...]:
        """The epochs of each run of a trial; the last is the full run."""
        return tuple(self.optuna.user_attrs[HORIZONS])

    @property
    def target(self) -> int:
        """The budget: how many trials are to finish."""
        with self.storage.reading() as connection:
            query = select(studies.c.target).where(studies.c.study_id == self.study_id)
            return int(connection.execute(query).scalar_one())

    def set_target(self, target: int) -> None:
        """Set the budget.

        Raises:
            StudyError: if more trials than that have finished or are being trained.
        """
        with self.storage.engine.begin() as connection:
            lock_study(connection, self.study_id)
            begun = count_begun(connection, self.study_id)
            if target < begun:
                raise StudyError(
                    f"--trials sets the total and must be at least the {begun} trials that have "
                    f"finished or begun, but got {target}"
                )
            self._update(connection, target=target)

    def set_stopping(self, stopping: bool) -> None:
        """Tell the study's workers to leave, or let them work (again)."""
        with self.storage.engine.begin() as connection:
            self._update(connection, stopping=stopping, failures=0)

    @property
    def stopping(self) -> bool:
        """Whether the workers are to leave."""
        with self.storage.reading() as connection:
            query = select(studies.c.stopping).where(studies.c.study_id == self.study_id)
            return bool(connection.execute(query).scalar_one())

    def _update(self, connection: Any, **values: Any) -> None:
        connection.execute(
            update(studies).where(studies.c.study_id == self.study_id).values(**values)
        )


class _SeededByName(BaseSampler):
    """Samples each parameter with a seed of its own, so that none depends on those before it.

    A trial whose worker died between two parameters is then completed as it would have been.
    """

    def __init__(self, spec: StudySpec, number: int) -> None:
        self.spec = spec
        self.number = number
        self.sampler = self._seeded()

    def infer_relative_search_space(self, *args: Any) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(*args)

    def sample_relative(self, *args: Any) -> dict[str, Any]:
        return self.sampler.sample_relative(*args)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self._seeded(name).sample_independent(study, trial, name, distribution)

    def before_trial(self, *args: Any) -> None:
        self.sampler.before_trial(*args)

    def after_trial(self, *args: Any) -> None:
        self.sampler.after_trial(*args)

    def _seeded(self, name: str = "") -> BaseSampler:
        entropy = [self.spec.study.seed, self.number, *name.encode()]
        return self.spec.build_sampler(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


def create_study(storage: Storage, spec: StudySpec, task: Task) -> Study:
    """Create the study that `spec` describes, or open it if it is there with the same spec.

    Args:
        storage: where the study is to live.
        spec: what the study is.
        task: the task that `spec` names, with its options.

    Raises:
        SpecError: if spec and task do not fit; then nothing is written.
        StudyError: if a study of that name has another spec, or is not lrsearch's.
    """
    check_task(spec, task)
    name = spec.study.name
    with _one_at_a_time(storage):
        study = optuna.create_study(
            storage=storage, study_name=name, direction=spec.study.direction, load_if_exists=True
        )
        with storage.reading() as connection:
            query = select(studies).where(studies.c.study_id == study._study_id)
            complete = connection.execute(query).first() is not None and SPEC in study.user_attrs
        if not complete:
            _fill(storage, study, spec, task)
    created = open_study(storage, name)
    if changed := created.spec.differences(spec):
        raise StudyError(
            f"study {name!r} exists with another spec; what differs: {'; '.join(changed)}. "
            "Give the changed study a new name (for more trials use --trials)"
        )
    return created


@contextmanager
def _one_at_a_time(storage: Storage) -> Iterator[None]:
    """Wait for the only right to create a study, which takes more than one transaction."""
    url = storage.engine.url
    if url.get_backend_name() == "sqlite":
        with FileLock(f"{url.database}.lock"):
            yield
        return
    with storage.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7236752)"))
        yield


def _fill(storage: Storage, study: optuna.Study, spec: StudySpec, task: Task) -> None:
    """Store all that belongs to a new study, also where an earlier attempt broke off."""
    given = _given(spec)
    trials = study.get_trials(deepcopy=False)
    if len(trials) > len(given) or any(trial.state != TrialState.WAITING for trial in trials):
        raise StudyError(
            f"study {study.study_name!r} exists and was not made by lrsearch; use another name"
        )
    total_steps = task.epochs * task.steps_per_epoch
    space = spec.search_space(getattr(task, "base_lr", None))
    for attrs in given[len(trials) :]:
        # where the space holds it, the sampler learns from it as from any other
        params = space.params(Schedule.from_dict(attrs["given"]), total_steps) or {}
        if spec.confirm and spec.confirm.options:
            params |= spec.confirm.options[attrs["entry"]]
        study.enqueue_trial(params, user_attrs=attrs)
    with storage.engine.begin() as connection:
        forget(connection, study._study_id)
    with warnings.catch_warnings():  # Optuna calls the names of metrics experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.study.metric])
    study.set_user_attr(SPEC, spec.to_dict())
    study.set_user_attr(HORIZONS, spec.horizons(task.epochs, task.steps_per_epoch))
    if checksum := getattr(task, "data_checksum", None):
        study.set_user_attr(DATA, checksum)
    with storage.engine.begin() as connection:
        connection.execute(
            insert(studies).values(
                study_id=study._study_id,
                files=f"study-{study._study_id}-{uuid4().hex[:8]}",
                target=spec.study.trials,
                stopping=False,
                failures=0,
            )
        )


def _given(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the attributes of the trials that are given: each schedule, or each on every seed."""
    if spec.confirm is None:
        return [{"given": schedule.to_dict()} for schedule in spec.given_schedules()]
    return [
        {"given": schedule.to_dict(), "entry": entry, "seed": seed}
        for seed in spec.confirm.seeds
        for entry, schedule in enumerate(spec.given_schedules())
    ]


def check_task(spec: StudySpec, task: Task) -> None:
    """Refuse a study whose metric, warmup, horizons or given schedules do not fit its task.

    Raises:
        SpecError: naming the value and what would fit.
    """
    names = getattr(task, "metric_names", None)
    if names is not None and spec.study.metric not in names:
        raise SpecError(
            f"study.metric is {spec.study.metric!r}, which {spec.task.run!r} does not give; "
            f"{nearest(spec.study.metric, names)}"
        )
    total_steps = task.epochs * task.steps_per_epoch
    spec.search_space(getattr(task, "base_lr", None)).check_run(total_steps)
    spec.horizons(task.epochs, task.steps_per_epoch)
    for index, schedule in enumerate(spec.given_schedules(), 1):
        if is_degenerate(schedule, total_steps):
            raise SpecError(
                f"[[schedules]] number {index} is all but zero over a run of {total_steps} "
                "updates; change its parameters"
            )


def confirmation_name(study: str, number: int = 1) -> str:
    """Return the name of the study that confirms another: the first, or one more."""
    return f"{study}-confirmed" if number == 1 else f"{study}-confirmed-{number}"


def open_study(storage: Storage, name: str | None = None) -> Study:
    """Open a study, with its own spec and pruner; without a name, the only one.

    Studies that confirm another do not count there.

    Raises:
        StudyError: if there is no such study, or more than one to choose from.
    """
    names = [study.study_name for study in storage.get_all_studies()]
    url = masked(storage.engine.url)
    if name is None:
        searches = [n for n in names if n.partition(confirmation_name(""))[0] not in {*names} - {n}]
        if len(searches) != 1:
            found = f"has the studies {', '.join(sorted(names))}" if names else "has no study"
            raise StudyError(f"storage {url} {found}; name one with --study or launch one")
        name = searches[0]
    if name not in names:
        found = f"its studies: {', '.join(sorted(names))}" if names else "it has none"
        raise StudyError(f"storage {url} has no study {name!r}; {found}")
    study = optuna.load_study(study_name=name, storage=storage)
    stored = study.user_attrs.get(SPEC)
    if stored is None:
        raise StudyError(f"study {study.study_name!r} was not made by lrsearch: it has no spec")
    try:
        spec = StudySpec.from_dict(stored)
    except SpecError as error:
        raise StudyError(f"the spec stored in study {study.study_name!r}: {error}") from None
    study.pruner = spec.build_pruner()
    with storage.reading() as connection:
        query = select(studies.c.files).where(studies.c.study_id == study._study_id)
        files = connection.execute(query).scalar()
    if files is None:  # optuna-dashboard renames a study by copying it
        raise StudyError(
            f"study {study.study_name!r} lacks what lrsearch stores beside it: launch its file "
            "again, under a new name if this one was renamed or copied"
        )
    return Study(storage, study, spec, storage.files / files)


def schedule_of(trial: FrozenTrial) -> Schedule:
    """Return the schedule that a trial trained."""
    return Schedule.from_dict(trial.user_attrs["schedule"])


def recovered(trial: FrozenTrial) -> bool:
    """Return whether a trial was unstable but did not diverge; evaluations each epoch miss that."""
    jump = trial.user_attrs.get("stability", {}).get("loss_jump", 0.0)
    return jump > UNSTABLE_JUMP and "diverged" not in trial.user_attrs
