"""What both kinds of storage promise: exact claims, leases that guard what is written, clean rows.

Times are not waited for: a lease runs out because a test moves its end into the past.
"""

import math
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState
from processes import at_once, wait_for_all
from sqlalchemy import NullPool, create_engine, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError

from lrsearch import Progress, StudySpec, create_study, open_storage, open_study
from lrsearch.errors import StorageError, StudyError
from lrsearch.storage import (
    EpochMetrics,
    Lease,
    LeaseLost,
    NoTrialReason,
    TrialQueue,
    masked,
    read_metrics,
    record_metrics,
    trial_reading,
)
from lrsearch.storage import tables as ours
from lrsearch.study import read_status
from lrsearch.worker.checkpoints import Checkpoints


class Fake:
    """A task that is never run."""

    epochs = 2
    steps_per_epoch = 50

    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"score": 0.0})


def spec(trials, name="fake", **sections):
    return StudySpec.from_dict(
        {
            "study": {"name": name, "trials": trials, "metric": "score"},
            "task": {"run": f"{__name__}:Fake"},
            **sections,
        }
    )


def make(storage, trials=5, name="fake", task=None, **sections):
    return create_study(storage, spec(trials, name, **sections), task or Fake())


def join(study, max_failures=3):
    return TrialQueue(study.storage, study.study_id, "cpu", seconds=60, max_failures=max_failures)


def run_out(storage, lease):
    with storage.engine.begin() as connection:
        connection.execute(
            update(ours.leases).where(ours.leases.c.lease_id == lease.lease_id).values(expires=1.0)
        )


def expires(storage, lease):
    with storage.reading() as connection:
        query = select(ours.leases.c.expires).where(ours.leases.c.lease_id == lease.lease_id)
        return connection.execute(query).scalar_one()


def tell(storage, lease, state=TrialState.COMPLETE):
    with storage.guarded(lease.check):
        values = None if state == TrialState.FAIL else [1.0]
        assert storage.set_trial_state_values(lease.trial_id, state, values)


def claim(worker, count):
    """Return so many leases of one worker."""
    leases = []
    while len(leases) < count:
        leases.append(worker.claim(leases))
    return leases


def work_until_done(worker):
    """Claim and finish trials like a worker; return their numbers."""
    numbers = []
    while (claim := worker.claim()) is not NoTrialReason.DONE:
        if claim is NoTrialReason.WAIT:
            time.sleep(0.01)
            continue
        assert isinstance(claim, Lease)
        numbers.append(claim.number)
        tell(worker.storage, claim)
        worker.end(claim, failed=False)
    return numbers


# --- reading ------------------------------------------------------------------------------------


def test_a_block_that_reads_once_sees_what_it_writes_and_what_is_new(storage):
    study = make(storage, trials=8)
    first, second, third = claim(join(study), 3)
    tell(storage, first)
    other = open_study(open_storage(storage.engine.url.render_as_string(hide_password=False)))

    def seen():
        return {t.number: t for t in study.optuna.get_trials(deepcopy=False)}

    def trial(lease):
        with storage.guarded(lease.check):
            return study.trial(lease.trial_id, lease.number)

    with storage.caching_reads(study.study_id):
        assert {t.state for t in seen().values()} == {TrialState.COMPLETE, TrialState.RUNNING}
        for lease in (second, third):
            with storage.guarded(lease.check):
                trial(lease).suggest_float("x", 0, 1)
                trial(lease).report(0.5, 1)
                trial(lease).set_user_attr("mine", 1)
            now = seen()[lease.number]
            assert now.params.keys() == {"x"}
            assert (now.intermediate_values, now.user_attrs) == ({1: 0.5}, {"mine": 1})
        fourth = join(other).claim()
        assert seen()[fourth.number].state == TrialState.RUNNING
        optuna.Trial(other.optuna, second.trial_id).set_user_attr("theirs", 1)
        assert "theirs" not in seen()[second.number].user_attrs
        assert "theirs" in other.optuna.trials[second.number].user_attrs
        tell(storage, third)
        assert seen()[third.number].state == TrialState.COMPLETE
        whole = {t.number: t for t in storage.get_all_trials(study.study_id)}
        assert "theirs" in whole[second.number].user_attrs
    assert seen() == {t.number: t for t in other.optuna.get_trials()}


def test_a_block_that_reads_once_reads_each_trial_that_runs_once(storage):
    study = make(storage, trials=40)
    leases = claim(join(study), 40)
    read = []
    real = trial_reading.FrozenTrial

    def counted(**fields):
        read.append(fields["trial_id"])
        return real(**fields)

    with pytest.MonkeyPatch.context() as patch, storage.caching_reads(study.study_id):
        patch.setattr(trial_reading, "FrozenTrial", counted)
        for lease in leases:
            with storage.guarded(lease.check):
                study.trial(lease.trial_id, lease.number).suggest_float("x", 0, 1)
                assert len(study.optuna.get_trials(deepcopy=False)) == 40
    assert 40 <= len(read) < 40 * 10 < 40 * 40


# --- claims -------------------------------------------------------------------------------------


def test_32_threads_share_a_budget_exactly(storage):
    study = make(storage, trials=40)
    for _ in range(10):
        study.optuna.enqueue_trial({})
    workers = [join(study) for _ in range(32)]
    given = []
    threads = [
        threading.Thread(target=lambda worker=worker: given.extend(work_until_done(worker)))
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(40))
    assert all(trial.state == TrialState.COMPLETE for trial in study.optuna.trials)


SHARED = spec(40, schedules=[{"schedule": "constant", "base_lr": lr} for lr in (0.1, 0.2, 0.3)])


def create_and_work(url):
    storage = open_storage(url)
    wait_for_all()
    study = create_study(storage, SHARED, Fake())
    return work_until_done(join(study))


def test_16_processes_create_one_study_at_once_and_share_its_budget(storage_url):
    given = [number for numbers in at_once(16, create_and_work, storage_url) for number in numbers]
    assert sorted(given) == list(range(40))
    trials = open_study(open_storage(storage_url, create=False)).optuna.trials
    assert [trial.number for trial in trials] == list(range(40))
    queued = [trial.user_attrs["given"]["base_lr"] for trial in trials if trial.user_attrs]
    assert queued == [0.1, 0.2, 0.3]


def test_claims_give_own_trials_first_then_silent_workers_then_waiting_then_new_ones(storage):
    study = make(storage, trials=9, schedules=[{"schedule": "constant", "base_lr": 0.1}])
    study.optuna.enqueue_trial({"base_lr": 0.2})
    first, second, third, fourth = (join(study) for _ in range(4))
    given, queued, new = first.claim(), second.claim(), third.claim()
    assert [given.number, queued.number, new.number] == [0, 1, 2]
    run_out(storage, given)
    run_out(storage, queued)
    study.optuna.enqueue_trial({"base_lr": 0.3})

    own = third.claim()  # as after a failure of its storage
    assert (own.number, own.lease_id) != (new.number, new.lease_id)
    claims = [own, fourth.claim(), fourth.claim()]
    assert [claim.number for claim in claims] == [2, 0, 0]
    claims = [join(study).claim() for _ in range(3)]
    assert [claim.number for claim in claims] == [1, 3, 4]
    assert study.optuna.trials[3].state == TrialState.RUNNING
    assert study.trial(claims[1].trial_id, 3).suggest_float("base_lr", 0.0, 1.0) == 0.3


def test_a_finished_trial_whose_worker_died_before_it_ended_its_lease_costs_nothing(storage):
    study = make(storage, trials=2)
    tell(storage, join(study).claim())
    study.set_target(2)
    worker = join(study)
    assert worker.claim().number == 1
    assert join(study).claim() is NoTrialReason.WAIT
    tell(storage, worker.claim())
    study.set_target(2)
    assert join(study).claim() is NoTrialReason.DONE


def test_failed_trials_are_replaced_until_too_many_in_a_row_fail(storage):
    study = make(storage, trials=4)
    worker = join(study, max_failures=3)

    def fail(lease):
        tell(storage, lease, TrialState.FAIL)
        worker.end(lease, failed=True)

    fail(worker.claim())
    fail(worker.claim())
    success = worker.claim()
    tell(storage, success)
    worker.end(success, failed=False)  # so the next two are the first in a row again
    fail(worker.claim())
    fail(worker.claim())
    fail(worker.claim())
    assert worker.claim() is NoTrialReason.FAILING
    study.set_stopping(False)
    assert work_until_done(worker) == [6, 7, 8]


def test_a_stopped_study_gives_out_nothing_and_its_workers_are_told(storage):
    study = make(storage)
    worker = join(study)
    lease = worker.claim()
    assert not worker.seen([lease])
    study.set_stopping(True)
    assert worker.seen([lease])
    assert worker.claim() is NoTrialReason.STOPPED
    study.set_stopping(False)
    assert not worker.seen([lease])
    assert worker.claim().number == lease.number


def test_the_budget_may_not_fall_below_what_has_finished_or_begun(storage):
    study = make(storage, trials=5)
    worker = join(study)
    done = worker.claim()
    tell(storage, done)
    worker.end(done, failed=False)
    worker.claim()
    with pytest.raises(StudyError, match=r"at least the 2 trials .* but got 1"):
        study.set_target(1)
    assert study.target == 5
    study.set_target(2)
    assert join(study).claim() is NoTrialReason.WAIT
    study.set_target(3)
    assert join(study).claim().number == 2


# --- leases -------------------------------------------------------------------------------------


def test_writing_and_heartbeats_renew_a_lease_and_reading_does_not(storage):
    study = make(storage)
    worker = join(study)
    lease = worker.claim()
    trial = study.trial(lease.trial_id, lease.number)

    run_out(storage, lease)
    with storage.guarded(lease.check):
        storage.get_trial(lease.trial_id)
        read_metrics(storage, study.study_id)
    assert expires(storage, lease) == 1.0
    with storage.guarded(lease.check):
        trial.report(0.5, 1)
    assert expires(storage, lease) > 1.0

    run_out(storage, lease)
    worker.seen([lease])
    assert expires(storage, lease) > 1.0
    assert isinstance(join(study).claim(), Lease)
    assert join(study).claim().number != lease.number


WRITES = {
    "suggest": lambda study, trial, lease: trial.suggest_float("base_lr", 0.1, 1.0),
    "report": lambda study, trial, lease: trial.report(0.9, 2),
    "user attribute": lambda study, trial, lease: trial.set_user_attr("schedule", "mine"),
    "system attribute": lambda study, trial, lease: trial.set_constraint("diverged", 1.0),
    "metrics": lambda study, trial, lease: record_metrics(
        study.storage,
        study.study_id,
        "slow",
        EpochMetrics(lease.number, 0, 1, 50, 0.1, {"score": 0.9}),
    ),
    "tell": lambda study, trial, lease: study.storage.set_trial_state_values(
        lease.trial_id, TrialState.COMPLETE, [0.9]
    ),
}


def all_rows(storage):
    """Everything in the database but what claims and heartbeats change."""
    tables = [*ours.metadata.sorted_tables, *optuna.storages._rdb.models.BaseModel.metadata.tables]
    with storage.reading() as connection:
        return {
            str(table): connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            for table in tables
            if str(table) not in ("lrsearch_leases", "lrsearch_workers")
        }


def test_a_worker_that_has_lost_its_trial_writes_nothing(storage):
    study = make(storage)
    lost = join(study).claim()
    trial = study.trial(lost.trial_id, lost.number)
    with storage.guarded(lost.check):
        trial.report(0.1, 1)
        record_metrics(
            storage, study.study_id, "slow", EpochMetrics(0, 0, 1, 50, 0.1, {"score": 0.1})
        )
    run_out(storage, lost)
    successor = join(study).claim()
    assert successor.number == lost.number

    before = all_rows(storage)
    for write in WRITES.values():
        with pytest.raises(LeaseLost), storage.guarded(lost.check):
            write(study, trial, lost)
    assert all_rows(storage) == before

    trial = study.trial(successor.trial_id, successor.number)
    for name, write in WRITES.items():
        with storage.guarded(successor.check):
            write(study, trial, successor)
        assert all_rows(storage) != before, name
        before = all_rows(storage)


def test_a_trial_that_somebody_finished_by_hand_is_left_alone(storage):
    study = make(storage)
    worker = join(study)
    lease = worker.claim()
    trial = study.trial(lease.trial_id, lease.number)
    storage.set_trial_state_values(lease.trial_id, TrialState.COMPLETE, [0.7])  # as a dashboard can
    before = all_rows(storage)
    for write in WRITES.values():
        with pytest.raises(LeaseLost), storage.guarded(lease.check):
            write(study, trial, lease)
    assert all_rows(storage) == before
    assert worker.claim().number == 1


@pytest.mark.slow
@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_machine_that_dies_in_a_transaction_holds_up_nobody(storage_url, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=60s")  # instead of waiting for ever
    dead, living = (make(open_storage(storage_url)) for _ in range(2))
    lease = join(dead).claim()
    run_out(dead.storage, lease)
    dead.storage.engine.dispose()  # what is connected already may be idle for longer
    with monkeypatch.context() as patch:  # what else connects may be slow, as the machine is
        patch.setattr("lrsearch.storage.postgresql.MAX_IDLE", 1)
        connection = dead.storage.engine.connect()
    with connection:
        lease.check(connection)
        assert join(living).claim().number == lease.number
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            lease.check(connection)


def test_a_slow_worker_whose_trial_nobody_took_goes_on(storage):
    study = make(storage, trials=1)
    worker = join(study)
    lease = worker.claim()
    run_out(storage, lease)
    tell(storage, lease)
    worker.end(lease, failed=False)
    assert worker.claim() is NoTrialReason.DONE


def test_a_trial_handed_back_is_taken_at_once_also_when_a_heartbeat_comes_late(storage):
    study = make(storage)
    leaving, other = join(study), join(study)
    lease = leaving.claim()
    leaving.hand_back(lease)
    leaving.seen([lease])
    assert other.claim().number == lease.number


def test_a_lease_taken_over_cannot_be_ended_or_handed_back_by_who_lost_it(storage):
    study = make(storage, trials=1)
    slow = join(study)
    lost = slow.claim()
    run_out(storage, lost)
    successor = join(study).claim()
    slow.end(lost, failed=False)
    slow.hand_back(lost)
    assert join(study).claim() is NoTrialReason.WAIT
    run_out(storage, successor)
    third = join(study).claim()
    assert third.crashes == 2  # what was handed back too late is a crash all the same
    tell(storage, third)


# --- rows ---------------------------------------------------------------------------------------


def test_a_new_study_inherits_nothing_from_a_deleted_one(storage):
    old = make(storage, trials=3)
    stale = join(old)
    lease = stale.claim()
    record_metrics(
        storage, old.study_id, stale.worker_id, EpochMetrics(0, 0, 1, 50, 0.1, {"score": 1.0})
    )
    checkpoints = Checkpoints(old.files / "checkpoints")
    checkpoints.save(0, lease.lease_id, {"epoch": 1})
    optuna.delete_study(study_name=old.name, storage=storage)
    stale.seen([lease])
    with pytest.raises(StudyError, match="deleted"):
        stale.claim()

    new = make(storage, trials=1)
    with storage.reading() as connection:
        for table in (ours.leases, ours.workers, ours.metrics):
            assert connection.execute(select(table)).all() == []
    assert Checkpoints(new.files / "checkpoints").load(0) == (None, [])
    worker = join(new)
    fresh = worker.claim()
    assert fresh.number == 0

    # the ids may be the same again, but a worker of the old study has no part in the new one
    with pytest.raises(LeaseLost), storage.guarded(lease.check):
        storage.set_trial_user_attr(fresh.trial_id, "whose", "the old one's")
    with pytest.raises(StudyError, match="deleted"):
        stale.claim()
    stale.hand_back(lease)
    stale.end(lease, failed=True)
    assert storage.get_trial(fresh.trial_id).user_attrs == {}
    assert join(new).claim() is NoTrialReason.WAIT


def test_metrics_that_are_not_finite_come_back_as_they_were(storage):
    study = make(storage)
    values = {"score": 0.1, "nan": math.nan, "up": math.inf, "down": -math.inf, "tiny": 5e-324}
    for epoch in (2, 1):
        record_metrics(
            storage, study.study_id, "me", EpochMetrics(0, 0, epoch, 50 * epoch, 1 / 3, values)
        )
    first, second = read_metrics(storage, study.study_id, [0])
    assert (first.epoch, second.epoch) == (1, 2)
    assert first[:5] == (0, 0, 1, 50, 1 / 3)
    assert {k: repr(v) for k, v in first.metrics.items()} == {k: repr(v) for k, v in values.items()}
    assert read_metrics(storage, study.study_id, [1]) == []


def test_the_curve_within_an_epoch_comes_back_and_may_be_missing(storage):
    study = make(storage)
    curve = [(7, {"train_loss": 2.3}), (14, {"train_loss": math.inf, "train_accuracy": 0.1})]
    for epoch, points in ((1, curve), (2, ())):
        row = EpochMetrics(0, 0, epoch, 50, 0.1, {"score": 1.0}, points)
        record_metrics(storage, study.study_id, "me", row)
    with storage.writing() as connection:  # as a version before left them
        ours_of_two = ours.metrics.c.epoch == 2
        connection.execute(update(ours.metrics).where(ours_of_two).values(curve=None))
    assert [row.curve for row in read_metrics(storage, study.study_id)] == [curve, []]


def test_an_epoch_trained_again_stands_in_place_of_the_first(storage):
    study = make(storage)
    for score in (1.0, 2.0):
        row = EpochMetrics(0, 0, 1, 50, 0.1, {"score": score})
        record_metrics(storage, study.study_id, "me", row)
    assert [row.metrics for row in read_metrics(storage, study.study_id)] == [{"score": 2.0}]


@pytest.mark.parametrize(
    "name",
    ["<b>&amp;</b>", "'; DROP TABLE trials; --", "../../etc", "  ", "日本 ✓ %s {0}", "x" * 400],
)
def test_any_name_makes_a_study(storage, name):
    study = make(storage, trials=1, name=name)
    assert open_study(storage, name).name == open_study(storage).name == name
    assert work_until_done(join(study)) == [0]
    assert study.files.is_relative_to(storage.files)


# --- opening ------------------------------------------------------------------------------------


def test_tables_of_a_newer_version_are_refused(storage_url, storage):
    with storage.engine.begin() as connection:
        connection.execute(update(ours.versions).values(version=ours.VERSION + 1))
    with pytest.raises(StorageError, match=f"version {ours.VERSION + 1} .* upgrade lrsearch"):
        open_storage(storage_url)


def test_reading_waits_for_no_writer(storage_url, storage):
    study = make(storage)
    lease = join(study).claim()
    with storage.engine.begin() as connection:
        connection.execute(update(ours.studies).values(target=77))
        connection.execute(insert(ours.versions).values(version=1))
        other = open_study(open_storage(storage_url, create=False))
        assert other.target == 5
        assert other.optuna.trials[0].number == lease.number
        assert read_status(other).running == 1


SECRET = "p4ss:w0rd"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:p4ss%3Aw0rd@127.0.0.1:1/db",
        "postgresql://me:p4ss%3Aw0rd@127.0.0.1:1/db",
        "postgresql+psycopg://127.0.0.1:1/db?user=me&password=p4ss%3Aw0rd",
        "postgresql+psycopg://me:p4ss:w0rd@127.0.0.1:port/db",
        "postgresql+psycopg://me:p4ss:w0rd/@127.0.0.1:1/db",
        "postgresql+psycopg://me:p4ss:w0rd#@127.0.0.1:1/db?bad option",
        "postgresql+nodriver://me:p4ss%3Aw0rd@127.0.0.1:1/db",
        "mysql://me:p4ss%3Aw0rd@127.0.0.1:1/db",
        "me:p4ss:w0rd@127.0.0.1",
    ],
)
def test_no_message_shows_a_password(url):
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    for text in (str(caught.value), repr(caught.value), masked(url)):
        assert "w0rd" not in text


def test_a_database_without_any_study_is_told_so(storage_url):
    engine = create_engine(storage_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE somebody_elses (a INTEGER)")
    with pytest.raises(StorageError, match="no lrsearch study in it; launch one first"):
        open_storage(storage_url, create=False)
    assert inspect(engine).get_table_names() == ["somebody_elses"]
