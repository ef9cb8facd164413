"""What the trials of a study train: the task with a trial's options, and its schedule."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import optuna

from lrsearch.errors import LrsearchError, StudyError
from lrsearch.schedules import Schedule
from lrsearch.search import Rung
from lrsearch.study import Attribute, StudySpec
from lrsearch.tasks import Task, check_importable, clock_of, load_task, with_options

_T = TypeVar("_T")
DAMAGED = ": the database was damaged, or changed by hand"


class StudyTasks:
    """What the trials of a study train.

    Args:
        spec: what the study is.
        rungs: the runs of a trial.
        task: the task itself, where this process has it; else it is imported.

    Raises:
        TaskError: if the task is neither given nor to be imported.
    """

    def __init__(self, spec: StudySpec, rungs: Sequence[Rung], task: Task | None = None) -> None:
        if task is None:
            check_importable(spec.task.run)
        self.spec = spec
        self.rungs = tuple(rungs)
        self._given = task
        self._tasks: dict[str, Task] = {}
        self._space = cache(spec.search_space)

    def task(self, options: dict[str, Any]) -> Task:
        """Return the task with those options, the last one kept."""
        key = json.dumps(options, sort_keys=True)
        if key not in self._tasks:
            path = self.spec.task.run
            given = self._given
            task = load_task(path, options) if given is None else with_options(given, options, path)
            self._tasks = {key: task}
        return self._tasks[key]

    def schedule(self, trial: optuna.Trial, task: Task) -> Schedule:
        """Return a trial's schedule, given or suggested."""
        total_steps = clock_of(task).length  # warmups count what the rate changes with
        space = self._space(getattr(task, "base_lr", None))
        given = trial.user_attrs.get(Attribute.GIVEN)
        if given is None:
            return as_stored(space.suggest, trial, total_steps)
        schedule = Schedule.from_dict(given)
        if space.params(schedule, total_steps) is not None:
            as_stored(space.suggest, trial, total_steps)  # fixed to the given ones
        return schedule


def as_stored(suggest: Callable[..., _T], *args: Any) -> _T:
    """Return what a function suggests; Optuna refuses where another domain is stored by its name.

    Raises:
        StudyError: if it does.
    """
    try:
        return suggest(*args)
    except LrsearchError:
        raise
    except ValueError as error:
        raise StudyError(f"the stored domains are not the study's ({error}){DAMAGED}") from None
