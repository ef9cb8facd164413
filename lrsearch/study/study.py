"""A study: its trials, its budget, and the attributes that hold what Optuna does not know."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select, update

from lrsearch.errors import StudyError
from lrsearch.schedules import Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage import Storage
from lrsearch.storage.claims import count_begun, lock_study
from lrsearch.storage.tables import studies
from lrsearch.study.seeded import SeededByName

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
        self.optuna.sampler = SeededByName(self.spec, number)
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

    @cached_property
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


def schedule_of(trial: FrozenTrial) -> Schedule:
    """Return the schedule that a trial trained."""
    return Schedule.from_dict(trial.user_attrs["schedule"])


def value_of(trial: FrozenTrial) -> float | None:
    """Return a trial's value; of one that is not complete the last it reported, if any."""
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    reported = trial.intermediate_values
    return reported[max(reported)] if reported else None


def recovered(trial: FrozenTrial) -> bool:
    """Return whether a trial was unstable but did not diverge; evaluations each epoch miss that."""
    jump = trial.user_attrs.get("stability", {}).get("loss_jump", 0.0)
    return jump > UNSTABLE_JUMP and "diverged" not in trial.user_attrs
