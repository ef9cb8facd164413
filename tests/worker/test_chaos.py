"""Real training under steady killing and freezing: the study ends as if nothing had happened."""

import os
import random
import signal
import time

import pytest
from optuna.trial import TrialState
from place import check_curves, lives
from sqlalchemy import select

from lrsearch.storage.tables import leases, workers

pytestmark = pytest.mark.slow

BUDGET = 24
KILLS = 9
LEASE = 5.0


def freeze(place, study, chance):
    """Stop a worker until its trial is another's, or for many leases; return whether it was taken.

    Not for ever: it may hold a lock that all others wait for.
    """
    pid = chance.choice(place.wait_for(lambda: holders(study), "a worker with a trial"))
    os.kill(pid, signal.SIGSTOP)
    patience = time.monotonic() + 60 * LEASE
    while pid in holders(study) and time.monotonic() < patience:
        time.sleep(0.1)
    os.kill(pid, signal.SIGCONT)
    return pid not in holders(study)


def holders(study, trained=0):
    """Return the living workers that hold a trial, and have trained so many epochs of it."""
    query = (
        select(workers.c.pid)
        .join(leases, workers.c.worker_id == leases.c.worker_id)
        .where(leases.c.ended.is_(None), leases.c.trained >= trained)
    )
    with study.storage.reading() as connection:
        return [pid for pid in connection.execute(query).scalars() if lives(pid)]


def test_a_study_ends_as_if_nobody_had_killed_or_frozen_its_workers(
    storage_url, place, small_data, exact
):
    place.url = storage_url
    study = place.create(
        "lrsearch.tasks.fashion_mnist:task",
        trials=BUDGET,
        task={"data_dir": str(small_data), "epochs": 8, "batch_size": 10},
        pruning={"kind": "horizons"},
        workers={"lease": LEASE},
    )
    chance = random.Random(0)
    launcher = place.start("launch", "study.toml", "--workers", "3")
    joined, taken_over = [], []
    for kill in range(KILLS):
        # after an epoch: a trial with which three workers die before another would have failed
        victims = place.wait_for(lambda: holders(study, trained=1), "a worker that trains")
        victim = chance.choice(victims)
        os.kill(victim, signal.SIGKILL)
        place.wait_for_death(victim)
        if kill == 2:
            joined.append(place.start("work"))
        if kill in (3, 6):
            taken_over.append(freeze(place, study, chance))
        if kill == 5:
            launcher.kill()
            launcher = place.start("resume", "--workers", "3")
    assert place.end(launcher) == 0
    for process in joined:
        place.end(process)

    assert any(taken_over)
    trials = study.optuna.get_trials()
    assert [trial.number for trial in trials] == list(range(BUDGET))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    check_curves(study)
    for sign in ("ERROR", "Traceback", "locked"):
        assert sign not in place.logs()
