"""Writers are served in order, whoever dies; what belongs together is one transaction."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy import text

from lrsearch.storage import open_storage, sqlite, ticket_lock
from lrsearch.storage.ticket_lock import TicketLock


@pytest.fixture
def counter(tmp_path):
    return tmp_path / "study.db.turns"


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/study.db")


def read(counter):
    data = counter.read_bytes()
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")


def all_are_done(counter):
    drawn, done = read(counter)
    return drawn == done > 0


def test_writers_are_served_in_the_order_in_which_they_came(storage, counter, monkeypatch):
    monkeypatch.setattr(ticket_lock, "STALLED_AFTER", 1e9)
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    served = []

    def write(name):
        with storage.writing():
            served.append(name)

    threads = []
    with storage.writing():
        first, _ = read(counter)
        for name in range(8):
            threads.append(threading.Thread(target=write, args=(name,)))
            threads[-1].start()
            while read(counter)[0] == first + name:  # until it has drawn its number
                time.sleep(0.001)
        storage.set_study_user_attr(study_id, "written", True)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == list(range(8))
    assert all_are_done(counter)


def test_a_writer_that_died_before_its_turn_is_passed_over(storage, counter, monkeypatch):
    monkeypatch.setattr(ticket_lock, "STALLED_AFTER", 0.01)
    code = (
        "from lrsearch.storage.ticket_lock import TicketLock; import os; "
        f"TicketLock({str(counter)!r}); os._exit(9)"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=False)
    assert read(counter)[0] - read(counter)[1] == 3
    storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    assert all_are_done(counter)


def test_a_writer_that_comes_back_late_sets_nobody_back(counter, monkeypatch):
    monkeypatch.setattr(ticket_lock, "STALLED_AFTER", 0.01)
    late, next_one = TicketLock(str(counter)), TicketLock(str(counter))
    next_one.wait()
    next_one.end()
    late.wait()
    late.end()
    assert read(counter) == (2, 2)


def test_a_guard_that_forbids_a_transaction_ends_the_turn(storage, counter):
    def forbid(_connection):
        raise RuntimeError("no")

    with storage.guarded(forbid), pytest.raises(RuntimeError), storage.writing():
        pass
    assert all_are_done(counter)
    with storage.guarded(forbid), storage.engine.connect() as connection:
        with pytest.raises(RuntimeError):
            connection.execute(text("SELECT 1"))
        assert all_are_done(counter)  # also while the connection is kept
    assert storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s") == 1


def test_a_counter_that_cannot_be_opened_is_done_without(storage, counter):
    counter.mkdir()
    assert storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s") == 1


def test_who_writes_has_the_lock_before_the_first_statement(storage, tmp_path):
    other = sqlite3.connect(tmp_path / "study.db", timeout=0)
    with storage.reading():
        other.execute("BEGIN IMMEDIATE")
        other.rollback()
    with storage.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_damaged_counter_heals(storage, counter):
    counter.write_bytes((1).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"more")
    storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    assert read(counter) == (6, 6)
    counter.write_bytes(b"\1")
    storage.set_study_user_attr(1, "key", 1)
    assert storage.get_study_user_attrs(1) == {"key": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 16,
        b"\xff" * 8 + bytes(8),
        bytes(8) + b"\xff" * 8,
        (10_000_000).to_bytes(8, "big") + bytes(8),
        random.Random(0).randbytes(16),
    ],
)
def test_nonsense_in_the_counter_is_ignored_and_mended(storage, counter, monkeypatch, content):
    counter.write_bytes(content)
    slept = []
    monkeypatch.setattr(ticket_lock.time, "sleep", slept.append)
    assert storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s") == 1
    assert slept == []
    assert all_are_done(counter)
    assert 0 < read(counter)[0] <= ticket_lock.MAX_NUMBER + 1


def test_who_waits_behind_many_looks_up_often_enough_to_hear_a_signal(counter, monkeypatch):
    counter.write_bytes((ticket_lock.MAX_AHEAD).to_bytes(8, "big") + bytes(8))
    slept, clock = [], [0.0]
    monkeypatch.setattr(ticket_lock.time, "monotonic", lambda: clock[0])

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(ticket_lock.time, "sleep", sleep)
    ticket = TicketLock(str(counter))
    ticket.wait()
    ticket.end()
    assert max(slept) <= 0.05
    assert sum(slept) >= ticket_lock.STALLED_AFTER
    assert all_are_done(counter)


def test_who_waits_for_a_stopped_process_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "SILENT_WAIT", 0.05)
    code = (
        "import sys, time; from filelock import FileLock; "
        f"lock = FileLock({str(tmp_path / 'study.db.lock')!r}); lock.acquire(); "
        "print('held', flush=True); time.sleep(1000)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        opened = []
        opening = threading.Thread(
            target=lambda: opened.append(open_storage(f"sqlite:///{tmp_path}/study.db"))
        )
        opening.start()
        while f"waiting for process {holder.pid}" not in caplog.text:
            assert opening.is_alive()
            time.sleep(0.01)
        assert opened == []
    finally:
        holder.kill()
        holder.communicate()
    opening.join()
    assert opened


def test_what_is_written_together_is_written_wholly_or_not_at_all(storage_url):
    storage = open_storage(storage_url)
    study = optuna.create_study(storage=storage)
    trial = study.ask()

    def break_off():
        with storage.writing():
            trial.report(1.0, 1)
            with storage.writing():
                trial.set_user_attr("key", 1)
            raise RuntimeError("a worker dies here")

    with pytest.raises(RuntimeError):
        break_off()
    assert study.trials[0].intermediate_values == {}
    assert study.trials[0].user_attrs == {}
    with storage.writing():
        storage.set_trial_intermediate_value(trial._trial_id, 2, 3.0)
        trial.set_user_attr("key", 2)
        study.tell(trial, 4.0)
    assert study.trials[0].intermediate_values == {2: 3.0}
    assert study.trials[0].user_attrs == {"key": 2}
    assert study.trials[0].state == TrialState.COMPLETE


@pytest.mark.parametrize("value", [0.5, float("inf"), float("-inf"), float("nan")])
def test_a_report_is_stored_as_optuna_stores_it(storage_url, value):
    study = optuna.create_study(storage=open_storage(storage_url))
    trial = study.ask()
    trial.report(7.0, 3)
    study._storage.set_trial_intermediate_value(trial._trial_id, 3, value)  # in its place
    plain = optuna.load_study(storage=storage_url, study_name=study.study_name)
    assert plain.trials[0].intermediate_values == pytest.approx({3: value}, nan_ok=True)
    study.tell(trial, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_intermediate_value(trial._trial_id, 4, 1.0)
    with pytest.raises(KeyError):
        study._storage.set_trial_intermediate_value(999, 4, 1.0)


def test_a_parameter_is_stored_as_optuna_stores_it(storage_url):
    study = optuna.create_study(storage=open_storage(storage_url))
    first, second = study.ask(), study.ask()
    domains = {"rate": FloatDistribution(0.1, 1.0, log=True), "n": IntDistribution(1, 9),
               "family": CategoricalDistribution(["cosine", "step"])}  # fmt: skip
    values = {"rate": 0.25, "n": 3, "family": "step"}
    for name, domain in domains.items():
        internal = domain.to_internal_repr(values[name])
        study._storage.set_trial_param(first._trial_id, name, internal, domain)
    plain = optuna.load_study(storage=storage_url, study_name=study.study_name)
    assert plain.trials[0].params == values
    assert plain.trials[0].distributions == domains
    anew = open_storage(storage_url)  # which has not seen the domain
    for storage in (study._storage, anew):
        with pytest.raises(ValueError, match="CategoricalDistribution"):
            storage.set_trial_param(
                second._trial_id, "family", 0, CategoricalDistribution(["cosine"])
            )
    with pytest.raises(KeyError):
        anew.set_trial_param(999, "n", 3, domains["n"])
    study.tell(first, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_param(first._trial_id, "more", 3, domains["n"])
