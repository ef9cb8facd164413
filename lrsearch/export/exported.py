"""What leaves a study: a schedule and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.confirm import confirmed_rows, last_confirmation
from lrsearch.schedules import Schedule
from lrsearch.storage import read_metrics
from lrsearch.study import Study, schedule_of, value_of


@dataclass(frozen=True)
class Exported:
    """A trial's schedule.

    `losses` are the validation losses of its full run, which `plateau` reads; empty for a task
    that gives no `val_loss`. `confirmed` says what it came to on fresh seeds, if it was the best
    there.
    """

    schedule: Schedule
    study: str
    trial: int
    value: float
    total_steps: int
    losses: tuple[float, ...]
    confirmed: str | None = None


def exported(study: Study, number: int | None = None) -> Exported:
    """Return the confirmed winner, else the best trial; or the complete trial of that number.

    Raises:
        StudyError: if there is no such trial.
    """
    confirmed = None
    if number is not None:
        trial = study.complete_trial(number)
    elif (found := last_confirmation(study)) and found.winner and found.winner.trial is not None:
        trial = study.optuna.get_trials(deepcopy=False)[found.winner.trial]
        row = next(row for row in confirmed_rows(found) if row[0] == found.winner.name)
        confirmed = f"{found.metric} {row[2]} (95 %) on {len(found.seeds)} fresh seeds"
    else:
        trial = study.best_trial()
    value = value_of(trial)
    assert value is not None, "what is best or confirmed has a value"
    rows = read_metrics(study.storage, study.study_id, [trial.number])
    last_run = max((row.run for row in rows), default=0)
    return Exported(
        schedule=schedule_of(trial),
        study=study.name,
        trial=trial.number,
        value=value,
        total_steps=int(trial.user_attrs["total_steps"]),
        losses=tuple(
            row.metrics["val_loss"]
            for row in rows
            if row.run == last_run and "val_loss" in row.metrics
        ),
        confirmed=confirmed,
    )
