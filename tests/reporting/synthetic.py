"""Studies that look trained and are not: any number of trials, within seconds."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb.models import TrialValueModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select

from lrsearch import StudySpec, create_study, open_storage
from lrsearch.reporting import StudyData
from lrsearch.search import SearchSpace, rungs_of
from lrsearch.storage import EpochMetrics, LeaseSpan, RunEnd, trial_id_of
from lrsearch.storage.optuna_private import (
    params,
    reports,
    stored_report,
    trials,
    user_attributes,
    values,
)
from lrsearch.storage.seals import epoch_checksum, seal_trial
from lrsearch.storage.tables import leases, metrics, workers
from lrsearch.study import Answer, Study, as_record

EPOCHS, STEPS = 5, 40
RUNGS = rungs_of([EPOCHS], seeds=1)
BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)
OUTCOMES = ("complete", "complete", "pruned", "pruned", "diverged", "complete", "failed")


def synthetic_study(
    url: str,
    trials: int,
    *,
    name: str = "synthetic",
    families: Sequence[str] | None = None,
    outcomes: Sequence[str] = OUTCOMES,
    direction: str = "maximize",
    metric: str = "val_accuracy",
    worker: str = "host",
) -> Study:
    """Make a study whose trials end as `outcomes` says, over and over; the best base_lr is 0.1."""
    storage = open_storage(url)
    spec = _spec(trials, name, families, direction, metric)
    study = create_study(storage, spec, _Untrained())
    made = _trials(spec, trials, outcomes)
    _add_trials(study, [trial for trial, _ in made])
    rows = [{"study_id": study.study_id, **row} for _, epochs in made for row in epochs]
    _write_tables(study, rows, worker)
    with storage.writing() as connection:
        for trial in study.optuna.get_trials(deepcopy=False):
            seal_trial(connection, trial_id_of(trial))
    return study


@cache
def synthetic_data(trials: int) -> StudyData:
    """Make what figures see of such a study, without a storage."""
    spec = _spec(trials, "synthetic", None, "maximize", "val_accuracy")
    made = [
        as_record(trial, spec, RUNGS, [EpochMetrics(**row) for row in epochs])
        for trial, epochs in _trials(spec, trials, OUTCOMES)
    ]
    begun = BEGUN.timestamp()
    spans = [
        LeaseSpan(f"worker {t.number % 8}", t.id, begun + t.number, begun + t.number + 7)
        for t in made
    ]
    ends = [RunEnd(t.number, 0, len(t.epochs)) for t in made if t.epochs]
    best = max((t for t in made if t.mean is not None), key=lambda t: t.mean, default=None)
    answer = Answer(best, spec.study.metric, best.mean, len(best.full_values)) if best else None
    return StudyData("synthetic", spec, RUNGS, made, spans, ends, answer=answer)


class _Untrained:
    """A task that is never run."""

    epochs, steps_per_epoch = EPOCHS, STEPS

    def run(self, schedule, *, epochs, seed, device, state=None):
        raise NotImplementedError


def _spec(
    trials: int, name: str, families: Sequence[str] | None, direction: str, metric: str
) -> StudySpec:
    study = {"name": name, "trials": max(1, trials), "metric": metric, "direction": direction}
    return StudySpec.from_dict(
        {
            "study": study,
            "task": {"run": "lrsearch.tasks.fashion_mnist:task", "epochs": EPOCHS},
            "pruning": {"kind": "epochs", "pruner": "median"},
            "space": {"families": list(families)} if families else {},
        }
    )


def _trials(
    spec: StudySpec, count: int, outcomes: Sequence[str]
) -> list[tuple[FrozenTrial, list[dict[str, Any]]]]:
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rng = np.random.default_rng(0)
    space = spec.search_space()
    return [_trial(sampled, space, spec, n, outcomes[n % len(outcomes)], rng) for n in range(count)]


def _trial(
    sampled: optuna.Study,
    space: SearchSpace,
    spec: StudySpec,
    number: int,
    outcome: str,
    rng: np.random.Generator,
) -> tuple[FrozenTrial, list[dict[str, Any]]]:
    asked = sampled.ask()
    schedule = space.suggest(asked, EPOCHS * STEPS)
    base = math.exp(-(math.log10(schedule.base_lr / 0.1) ** 2) / 4) * 0.9 + rng.normal(0, 0.02)
    base = -base if spec.study.direction == "minimize" else base
    trained = {
        "complete": EPOCHS,
        "failed to train": EPOCHS,
        "pruned": 1 + number % (EPOCHS - 1),
    }.get(outcome, 1)
    values = {epoch: base * epoch / (epoch + 0.5) for epoch in range(1, trained + 1)}
    attrs = {"schedule": schedule.to_dict(), "total_steps": EPOCHS * STEPS}
    if outcome == "diverged":
        attrs["diverged"] = {"run": 0, "epoch": 1, "step": 7, "lr": schedule.lr(7, EPOCHS * STEPS)}
        values = {}
    if outcome == "failed to train":
        attrs["failed_to_train"] = True
    if outcome == "failed":
        attrs["error"], values = "<b>out of memory</b>", {}
    begun = BEGUN + timedelta(seconds=10 * number)
    state = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
    trial = FrozenTrial(
        number=number,
        state=state.get(outcome, TrialState.PRUNED),
        value=values[EPOCHS] if outcome == "complete" else None,
        datetime_start=begun.replace(tzinfo=None),
        datetime_complete=(begun + timedelta(seconds=9)).replace(tzinfo=None),
        params=asked.params,
        distributions=asked.distributions,
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=values,
        trial_id=number,
    )
    epochs = [
        {
            "trial": number,
            "run": 0,
            "epoch": epoch,
            "step": 7 if outcome == "diverged" else epoch * STEPS,
            "lr": schedule.lr(epoch * STEPS - 1, EPOCHS * STEPS),
            "metrics": {
                "train_loss": math.nan if outcome == "diverged" else 2.0 / epoch,
                "val_loss": math.nan if outcome == "diverged" else 2.2 / epoch,
                spec.study.metric: values.get(epoch, 0.1),
            },
        }
        for epoch in range(1, trained + 1)
    ]
    return trial, [] if outcome == "failed" else epochs


def _add_trials(study: Study, made: Sequence[FrozenTrial]) -> None:
    """Write trials into Optuna's tables at once, in a hundredth of the time of its `add_trials`."""
    with study.storage.writing() as connection:
        heads = [
            {
                "number": trial.number,
                "study_id": study.study_id,
                "state": trial.state,
                "datetime_start": _in_utc(trial.datetime_start),
                "datetime_complete": _in_utc(trial.datetime_complete),
            }
            for trial in made
        ]
        if heads:
            connection.execute(insert(trials), heads)
        stored = select(trials.c.number, trials.c.trial_id).where(
            trials.c.study_id == study.study_id
        )
        ids = dict(tuple(row) for row in connection.execute(stored))
        for table, rows_of in _ROWS.items():
            rows = [
                {"trial_id": ids[trial.number], **row} for trial in made for row in rows_of(trial)
            ]
            if rows:
                connection.execute(insert(table), rows)


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


_ROWS = {
    params: lambda trial: [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ],
    values: lambda trial: [
        {"objective": 0, "value": value, "value_type": TrialValueModel.TrialValueType.FINITE}
        for value in trial.values or ()
    ],
    reports: lambda trial: [
        {
            "step": step,
            **dict(
                zip(
                    ("intermediate_value", "intermediate_value_type"),
                    stored_report(value),
                    strict=True,
                )
            ),
        }
        for step, value in trial.intermediate_values.items()
    ],
    user_attributes: lambda trial: [
        {"key": key, "value_json": json.dumps(value)} for key, value in trial.user_attrs.items()
    ],
}
"""What Optuna stores of a trial beside its head, by table."""


def _write_tables(study: Study, rows: list[dict[str, Any]], worker: str) -> None:
    """Write the epochs, and who held which trial: two workers by turns; trial 3 is handed over."""
    names = [f"{worker}-{index}" for index in range(2)]
    with study.storage.engine.begin() as connection:
        for index, name in enumerate(names):
            connection.execute(
                insert(workers).values(
                    worker_id=name,
                    study_id=study.study_id,
                    host=worker,
                    pid=index,
                    device="cpu",
                    started=BEGUN.timestamp(),
                    last_seen=BEGUN.timestamp(),
                    epochs=0,
                    ended=BEGUN.timestamp() + 1,
                )
            )
        held = []
        for trial in study.optuna.get_trials(deepcopy=False):
            begun = BEGUN.timestamp() + 10 * trial.number
            holders = names if trial.number == 3 else [names[trial.number % 2]]
            held += [
                {
                    "study_id": study.study_id,
                    "trial_id": trial_id_of(trial),
                    "worker_id": name,
                    "begun": begun + 4 * index,
                    "expires": begun + 60,
                    "ended": begun + (4 if index + 1 < len(holders) else 9),
                }
                for index, name in enumerate(holders)
            ]
        rows = [
            {
                **row,
                "recorded": BEGUN.timestamp(),
                "metrics": {k: str(v) if math.isnan(v) else v for k, v in row["metrics"].items()},
            }
            for row in rows
        ]
        for row in rows:
            place = (row[name] for name in ("trial", "run", "epoch", "step", "lr"))
            row["checksum"] = epoch_checksum(
                *place, json.dumps(row["metrics"]), row["recorded"], None
            )
        for table, values in ((metrics, rows), (leases, held)):
            if values:
                connection.execute(insert(table), values)
