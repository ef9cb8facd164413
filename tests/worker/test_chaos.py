"""Real training under steady killing and freezing: the study ends as if nothing had happened."""

import os
import random
import signal
import time

import pytest
from optuna.trial import TrialState
from place import check_curves, lives, who_trained
from sqlalchemy import select

from lrsearch.storage.tables import leases, workers

pytestmark = pytest.mark.slow

BUDGET = 40
KILLS = 30
LEASE = 5.0


def freeze(place, study, pid):
    """Stop a worker until its trial is another's, then wait until it has got a new one.

    It is not stopped for ever, since it may hold a lock that all others wait for.
    """
    os.kill(pid, signal.SIGSTOP)
    patience = time.monotonic() + 5 * LEASE
    while holds_a_trial(study, pid) and time.monotonic() < patience:
        time.sleep(0.1)
    os.kill(pid, signal.SIGCONT)
    place.wait_for(lambda: holds_a_trial(study, pid) or not lives(pid), "what it does now")


def holds_a_trial(study, pid):
    query = (
        select(leases.c.lease_id)
        .join(workers, workers.c.worker_id == leases.c.worker_id)
        .where(workers.c.pid == pid, leases.c.ended.is_(None))
    )
    with study.storage.reading() as connection:
        return connection.execute(query).first() is not None


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
    launcher = place.start("launch", "study.toml", "--workers", "4")
    joined = []
    for kill in range(KILLS):
        victim = chance.choice(place.wait_for(lambda: who_trained(study), "a worker that trains"))
        os.kill(victim, signal.SIGKILL)
        place.wait_for_death(victim)
        if kill in (3, 12, 21):
            joined.append(place.start("work"))
        if kill in (6, 16, 26):
            freeze(
                place, study, chance.choice(place.wait_for(lambda: who_trained(study), "another"))
            )
        if kill == 9:
            launcher.kill()
            launcher = place.start("resume", "--workers", "4")
    assert place.end(launcher) == 0
    for process in joined:
        place.end(process)

    trials = study.optuna.get_trials()
    assert [trial.number for trial in trials] == list(range(BUDGET))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    check_curves(study)
    for sign in ("ERROR", "Traceback", "locked"):
        assert sign not in place.logs()
