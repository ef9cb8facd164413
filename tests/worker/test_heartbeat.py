"""What a heartbeat notices: an epoch that takes too long, or ten times as long, and a clock set."""

import threading
import time

import pytest
from optuna.trial import TrialState
from sqlalchemy import update
from test_resume import join, run_out, train

from lrsearch.cli.view import print_status
from lrsearch.storage import Lease, read_metrics, slow_trials
from lrsearch.storage import tables as ours
from lrsearch.study import read_status
from lrsearch.worker import heartbeat as module
from lrsearch.worker.heartbeat import TOO_SLOW, Heartbeat
from tests.in_process import make_trainer


class Exited(BaseException):
    pass


@pytest.fixture
def study(place):
    return place.create("trouble:Fake", trials=2, workers={"max_failures": 9})


def test_an_epoch_beyond_its_limit_costs_the_worker_and_after_three_the_trial(study, monkeypatch):
    def exit_with(status):
        assert status == TOO_SLOW
        raise Exited

    monkeypatch.setattr(module.os, "_exit", exit_with)
    for crashes in range(3):
        queue = join(study)
        lease = queue.claim()
        assert (lease.number, lease.crashes) == (0, crashes)
        heart = Heartbeat(queue, None, limit=0.001)

        def hang(heart=heart):
            time.sleep(0.002)
            heart._watch_epoch()  # what its thread does meanwhile

        with heart.renewing([lease]), pytest.raises(Exited):
            heart.timed(hang)()
    queue = join(study)
    train(study, queue)
    assert study.record(0).state == TrialState.FAIL
    assert "3 workers died with it" in study.record(0).error


def test_epochs_are_watched_while_they_are_trained_and_only_then(study, monkeypatch):
    beats = threading.Event()
    monkeypatch.setattr(module.os, "_exit", lambda status: beats.set())
    heart = Heartbeat(join(study), None, limit=0.01)
    heart.start()
    time.sleep(0.05)
    assert not beats.is_set()
    assert heart.timed(lambda: beats.wait(60))()
    heart.stop()


def test_a_slow_epoch_is_named_in_the_log_and_in_status(study, caplog, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    heart = Heartbeat(join(study), None)

    def epoch(seconds):
        clock[0] += seconds
        heart._watch_epoch()

    for seconds in (4.0, 5.0, 6.0, 45.0):
        heart.timed(epoch)(seconds)
    assert "ten times" not in caplog.text
    heart.timed(epoch)(60.0)
    assert "an epoch takes ten times as long as others" in caplog.text

    train(study, join(study))
    lease = join(study).claim()
    assert isinstance(lease, Lease)
    now = time.time()
    with study.storage.engine.begin() as connection:
        rows = read_metrics(study.storage, study.study_id, [0])
        for row in rows:
            connection.execute(
                update(ours.metrics)
                .where(ours.metrics.c.epoch == row.epoch)
                .values(recorded=now - 1000.0 + 5.0 * row.epoch)
            )
        connection.execute(update(ours.leases).values(begun=now - 300.0))
    slow = slow_trials(study.storage, study.study_id)
    assert slow.keys() == {lease.trial_id}
    assert slow[lease.trial_id] > 290.0
    monkeypatch.setenv("COLUMNS", "160")
    print_status(read_status(study), None)
    assert "slow: 30" in " ".join(capsys.readouterr().out.split())
    run_out(study)


def test_a_clock_that_is_set_is_noticed(study, caplog, monkeypatch):
    heart = Heartbeat(join(study), None)
    heart._notice_jump()
    assert "jumped" not in caplog.text
    wall = time.time
    monkeypatch.setattr(module.time, "time", lambda: wall() - 3600.0)
    heart._notice_jump()
    assert "clock has jumped by -3600 s" in caplog.text
    heart._notice_jump()
    assert caplog.text.count("jumped") == 1


def test_a_trainer_watches_each_epoch(study):
    heart = Heartbeat(join(study), None)
    trainer = make_trainer(study, next_progress=heart.timed(lambda rounds: next(rounds, None)))
    trainer.train([join(study).claim()])
    assert len(heart._epochs) == 5  # with the look for one more
