"""Many processes whose trials climb rungs at once: budgets stay exact, and no rung is given twice.

They train nothing, and often leave in the middle of a run, which another then goes on with.
"""

import math
import random
import time

import optuna
import pytest
from optuna.trial import TrialState
from processes import at_once
from sqlalchemy import event, select
from test_conformance import Fake, make

from lrsearch import open_storage, open_study
from lrsearch.storage import (
    END,
    EpochMetrics,
    Lease,
    NoTrialReason,
    TrialQueue,
    read_metrics,
    record_metrics,
)
from lrsearch.storage import tables as ours
from lrsearch.storage.budget import epochs_left, lock_study
from lrsearch.study import Attribute
from lrsearch.worker import plan_of

RUNGS = {"kind": "rungs", "horizons": [1, 3], "seeds": 3, "reduction_factor": 3}
TO_FULL = 1 + 3
LEAVES = 0.3
"""How often a worker leaves in the middle of a run."""


def value(number: int, rung: int) -> float:
    return random.Random(1000 * number + rung).random()


def length(study, number: int, run: int) -> int:
    """Return how many epochs a trial's run has; some checks stop early."""
    rung = study.rungs[run]
    stops = rung.check and value(number, run) < 0.7
    return rung.expected_epochs if stops else rung.epochs


def climb(url: str) -> None:
    """Claim, train, pause and end trials as a worker does; now and then leave one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(open_storage(url, create=False))
    queue = TrialQueue(study.storage, study.study_id, "cpu", 60.0, 3, plan_of(study))
    chance = random.Random(queue.worker_id)
    while (lease := queue.claim()) is not NoTrialReason.DONE:
        if lease is NoTrialReason.WAIT:
            time.sleep(0.02)
            continue
        with study.storage.guarded(lease.check):
            trial = study.trial(lease.trial_id, lease.number)
            if lease.rung == END:
                mean = study.record(lease.number).mean
                state = TrialState.PRUNED if mean is None else TrialState.COMPLETE
                study.optuna.tell(lease.number, mean, state)
            else:
                ended = train(study, queue, lease, trial, chance)
        if lease.rung == END:
            queue.end(lease, failed=False)
        elif ended:
            queue.pause(lease)
        else:
            queue.hand_back(lease)
    queue.leave()


def train(study, queue, lease, trial, chance) -> bool:
    """Train a rung, and report where it comes to its end; return whether it does."""
    if Attribute.SCHEDULE not in trial.user_attrs:
        schedule = study.spec.search_space().suggest(trial, 100)
        trial.set_user_attr(Attribute.SCHEDULE, schedule.to_dict())
        trial.set_user_attr(Attribute.TOTAL_STEPS, 200)
    rung = study.rungs[lease.rung]
    epochs = length(study, lease.number, lease.rung)
    score = {"score": value(lease.number, lease.rung)}
    for epoch in range(1, epochs + 1):
        row = EpochMetrics(lease.number, lease.rung, epoch, 50 * epoch, 0.1, score)
        record_metrics(study.storage, study.study_id, queue.worker_id, row)
        if epoch < epochs and chance.random() < LEAVES:
            return False
    trial.report(score["score"] if epochs == rung.epochs else math.nan, rung.step)
    return True


@pytest.mark.parametrize(("trials", "epochs"), [(48, None), (1000, 100)])
@pytest.mark.slow
def test_many_processes_climb_within_their_budgets_and_train_no_rung_twice(
    storage_url, trials, epochs
):
    budget = {"name": "fake", "trials": trials, "epochs": epochs, "metric": "score"}
    task = Fake()
    task.epochs = RUNGS["horizons"][-1]
    study = make(open_storage(storage_url), trials, task=task, pruning=RUNGS, study=budget)
    at_once(8, climb, storage_url)
    study = open_study(open_storage(storage_url))
    records = study.records()
    assert [record.number for record in records] == list(range(len(records)))
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert any(record.stopped for record in records)
    rows = read_metrics(study.storage, study.study_id)
    if epochs is None:
        assert len(records) == trials
        full = sum(bool(record.full_values) for record in records)
        best = study.best()
        assert len(best.full_values) + len(best.stopped) == study.climb.seeds_due(full) > 1
    else:
        assert epochs - TO_FULL < len(rows) <= epochs
    for record in records:
        steps = [rung.step for rung in study.rungs[: len(record.reports)]]
        found = [
            value(record.number, run) if length(study, record.number, run) == rung.epochs else None
            for run, rung in enumerate(study.rungs[: len(steps)])
        ]
        kept = {s: None if math.isnan(v) else v for s, v in record.reports.items()}
        assert kept == dict(zip(steps, found, strict=True))
        trained = [(row.run, row.epoch) for row in rows if row.trial == record.number]
        assert trained == [
            (index, epoch)
            for index in range(len(steps))
            for epoch in range(1, length(study, record.number, index) + 1)
        ]
    best = study.optuna.best_trial
    assert (best.number, best.value) == (study.best().number, study.best().mean)
    with study.storage.reading() as connection:
        leases = connection.execute(select(ours.leases)).all()
    finished = [(row.trial_id, row.rung) for row in leases if row.expires > 0]
    assert len(finished) == len(set(finished))  # all others were handed back
    assert all(row.ended is not None for row in leases)


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_an_epoch_that_is_stored_while_a_budget_is_counted_is_not_left_over(storage_url):
    """SQLite lets nobody write in between; of PostgreSQL each statement sees what is new."""
    storage, other = open_storage(storage_url), open_storage(storage_url)
    pruning = {"kind": "rungs", "horizons": [2]}
    budget = {"name": "fake", "trials": 1000, "epochs": 100, "metric": "score"}
    study = make(storage, 1000, pruning=pruning, study=budget)
    queue = TrialQueue(storage, study.study_id, "cpu", 60.0, 3, plan_of(study))
    assert isinstance(queue.claim(), Lease)
    stored = []

    def store(connection, cursor, statement, *args):
        if "metrics" in statement and not stored:
            stored.append(EpochMetrics(0, 0, 1, 50, 0.1, {"score": 0.5}))
            record_metrics(other, study.study_id, queue.worker_id, *stored)

    event.listen(storage.engine, "after_cursor_execute", store)
    with storage.engine.begin() as connection:
        lock_study(connection, study.study_id)
        row = connection.execute(select(ours.studies)).one()
        assert epochs_left(connection, row, default=2) <= 98
        assert stored
        assert epochs_left(connection, row, default=2) == 98
