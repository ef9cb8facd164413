"""What is known from an earlier study: its trials, as the sampler of a new one sees them."""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.study import StudyDirection

from lrsearch.errors import StudyError
from lrsearch.schedules import Schedule
from lrsearch.search import SearchSpace, study_in_memory
from lrsearch.study.results import Constraint
from lrsearch.study.spec import StudySpec
from lrsearch.study.study import Study
from lrsearch.tasks import Task, clock_of


def earlier_trials(earlier: Study, spec: StudySpec, task: Task) -> list[dict[str, Any]]:
    """Return the trials of an earlier study whose schedules lie in a new one's space, as JSON.

    They are stored with the new study. Its sampler learns from them as from its own, and they take
    nothing of its budget.

    Raises:
        StudyError: if the studies compare by other metrics, or no trial lies in the space.
    """
    for key in ("metric", "direction"):
        was, now = getattr(earlier.spec.study, key), getattr(spec.study, key)
        if was != now:
            raise StudyError(
                f"--from {earlier.name}: its {key} is {was!r}, and this study's is {now!r}; "
                "only values of one metric can be learned from"
            )
    space = spec.search_space(getattr(task, "base_lr", None))
    total_steps = clock_of(task).length
    found = []
    for record in earlier.records():
        if record.schedule is None or record.duplicate_of is not None or record.error:
            continue
        if not (record.reports or record.infeasible):
            continue
        if (trial := _suggested(space, record.schedule, total_steps)) is None:
            continue
        found.append(
            {
                "params": trial.params,
                "distributions": {
                    name: distribution_to_json(each) for name, each in trial.distributions.items()
                },
                "value": record.mean,
                "reports": {
                    str(step): value
                    for step, value in record.reports.items()
                    if not math.isnan(value)
                },
                Constraint.DIVERGED: record.diverged is not None,
                Constraint.FAILED_TO_TRAIN: record.failed_to_train,
            }
        )
    if not found:
        raise StudyError(
            f"--from {earlier.name}: none of its trials lies in this study's space; widen [space], "
            "or leave --from out"
        )
    return found


def _suggested(space: SearchSpace, schedule: Schedule, total_steps: int) -> optuna.Trial | None:
    """Return a trial that would suggest a schedule; `None` if it lies outside the space."""
    params = space.params(schedule, total_steps)
    if params is None:
        return None
    study = study_in_memory(StudyDirection.MINIMIZE)
    study.enqueue_trial(params)
    trial = study.ask()
    space.suggest(trial, total_steps)
    return trial
