"""When a lease ends: by what has passed, or as its holder's process dies, whatever a clock says."""

import math
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy import update
from test_conformance import Fake, join, make, spec

from lrsearch.errors import SpecError
from lrsearch.reporting.figures.data import read_data
from lrsearch.reporting.figures.timeline import timeline
from lrsearch.storage import EpochMetrics, Lease, NoTrialReason, open_storage, record_metrics
from lrsearch.storage import tables as ours
from lrsearch.storage.leases import DIED, LIVING, lease_clock
from lrsearch.storage.processes import is_alive, process_mark
from lrsearch.study import Attribute, check_task, read_status


@pytest.fixture
def process():
    """A process that only lives."""
    with subprocess.Popen(["sleep", "10000"]) as process:
        yield process
        process.kill()


def belongs_to(storage, worker, pid, host=None):
    """Make a worker one of another process, or host."""
    values = {"pid": pid, "process": process_mark(pid)} | ({"host": host} if host else {})
    with storage.engine.begin() as connection:
        of_worker = ours.workers.c.worker_id == worker.worker_id
        connection.execute(update(ours.workers).where(of_worker).values(values))


def set_time(storage, lease, **values):
    with storage.engine.begin() as connection:
        of_lease = ours.leases.c.lease_id == lease.lease_id
        connection.execute(update(ours.leases).where(of_lease).values(values))


def wait_for_state(process, states):
    while process_state(process.pid) not in states:
        time.sleep(0.01)


def process_state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def clock(monkeypatch):
    """The clock that leases run on, which a test may set."""
    time = [1000.0]
    for module in ("leases", "queue"):
        monkeypatch.setattr(f"lrsearch.storage.{module}.lease_clock", lambda connection: time[0])
    return time


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_ends_no_lease_and_keeps_none(tmp_path, monkeypatch, jump):
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    study = make(storage, trials=1)
    holder = join(study)
    lease = holder.claim()
    wall = time.time()
    monkeypatch.setattr("time.time", lambda: wall + jump)
    assert join(study).claim() is NoTrialReason.WAIT
    with storage.reading() as connection:
        ends = lease_clock(connection) - 1.0
    set_time(storage, lease, expires=ends)
    assert join(study).claim().number == lease.number


def test_a_lease_that_a_clock_set_back_prolongs_ends_after_its_own_length(storage, clock):
    study = make(storage, trials=1)
    join(study).claim()
    clock[0] -= 900.0
    assert join(study).claim() is NoTrialReason.WAIT
    clock[0] += 59.0
    assert join(study).claim() is NoTrialReason.WAIT
    clock[0] += 2.0
    assert isinstance(join(study).claim(), Lease)


@pytest.mark.parametrize("nonsense", [1e300, -1e300, math.inf, -math.inf, 2.0**63])
def test_nonsense_for_times_ends_no_command_and_holds_nothing_up(storage, clock, nonsense):
    study = make(storage, trials=2)
    first = join(study)
    lease = first.claim()
    trial = study.trial(lease.trial_id, lease.number)
    schedule = study.spec.search_space().suggest(trial, 100)
    trial.set_user_attr(Attribute.SCHEDULE, schedule.to_dict())
    trial.set_user_attr(Attribute.TOTAL_STEPS, 100)
    set_time(storage, lease, begun=nonsense, expires=nonsense)
    with storage.engine.begin() as connection:
        connection.execute(update(ours.workers).values(last_seen=nonsense, started=nonsense))
    assert read_status(study).running + read_status(study).interrupted == 1
    assert timeline(read_data(study)).data
    second = join(study)
    claims = [second.claim()]
    clock[0] += 61.0
    claims.append(second.claim(claims))
    assert sorted(claim.number for claim in claims) == [0, 1]


# --- processes ----------------------------------------------------------------------------------


def test_a_living_process_keeps_its_trial_a_stopped_one_for_its_lease_a_dead_one_not(
    storage, process, clock
):
    study = make(storage, trials=1)
    holder = join(study)
    holder.claim()
    belongs_to(storage, holder, process.pid)
    one_machine = storage.engine.dialect.name == "sqlite"  # else its network may not live
    clock[0] += 61.0 if one_machine else 30.0
    assert join(study).claim() is NoTrialReason.WAIT  # it is only slow

    process.send_signal(signal.SIGSTOP)
    wait_for_state(process, "T")
    clock[0] += 0.0 if one_machine else 31.0
    taken = join(study)
    assert taken.claim().number == 0
    process.send_signal(signal.SIGCONT)
    wait_for_state(process, "S")
    belongs_to(storage, taken, process.pid)
    assert join(study).claim() is NoTrialReason.WAIT

    process.kill()
    wait_for_state(process, "Z")  # as a worker is that nobody has waited for
    (state,) = [w.alive for w in read_status(study).workers if w.pid == process.pid]
    assert not state
    assert join(study).claim().crashes == 2


def test_a_process_that_lives_but_says_nothing_for_long_has_lost_its_trial(storage, process, clock):
    study = make(storage, trials=1)
    holder = join(study)
    holder.claim()
    belongs_to(storage, holder, process.pid)
    clock[0] += 60.0 + LIVING + 1.0
    assert isinstance(join(study).claim(), Lease)


def test_a_process_of_another_host_counts_for_nothing(storage, process, clock):
    study = make(storage, trials=1)
    holder = join(study)
    holder.claim()
    belongs_to(storage, holder, process.pid, host="elsewhere")
    process.kill()
    process.wait()
    assert join(study).claim() is NoTrialReason.WAIT
    clock[0] += 61.0
    assert isinstance(join(study).claim(), Lease)


def test_a_process_is_told_from_another_that_has_its_id(process):
    host, mark = socket.gethostname(), process_mark(process.pid)
    assert is_alive(host, process.pid, mark) is True
    scope, _, started = mark.rpartition(" ")
    assert is_alive(host, process.pid, f"{scope} {int(started) - 1}") is False
    assert is_alive(host, process.pid, f"another {started}") is None
    assert is_alive(host, process.pid, "") is None
    assert is_alive("elsewhere", process.pid, mark) is None
    assert is_alive(host, os.getpid(), process_mark(os.getpid())) is None


# --- crashes ------------------------------------------------------------------------------------


def die(storage, lease):
    set_time(storage, lease, expires=DIED)


def test_who_dies_with_a_trial_counts_until_it_trains_a_new_epoch(storage, monkeypatch):
    study = make(storage, trials=1)

    def record(worker, epoch):
        row = EpochMetrics(0, 0, epoch, 50 * epoch, 0.1, {"score": 0.5})
        record_metrics(storage, study.study_id, worker.worker_id, row)

    wall = time.time()
    for crashes, epoch in [(0, 1), (0, None), (1, 1), (2, 2), (0, None), (1, None)]:
        wall -= 1000.0  # crashes are counted by no clock
        monkeypatch.setattr("time.time", lambda wall=wall: wall)
        worker = join(study)
        lease = worker.claim()
        assert lease.crashes == crashes
        if epoch:
            record(worker, epoch)
        die(storage, lease)
    worker = join(study)
    lease = worker.claim()
    assert lease.crashes == 2
    worker.hand_back(lease)
    assert join(study).claim().crashes == 2  # who hands a trial back has not died


# --- what is refused ----------------------------------------------------------------------------


def test_a_lease_too_short_to_beat_in_is_refused_where_a_study_is_made():
    short = spec(5, workers={"lease": 1.0})
    with pytest.raises(SpecError, match=r"workers.lease is 1, and must be at least 5 seconds"):
        check_task(short, Fake())
