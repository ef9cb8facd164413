"""Workers that are killed, stopped, frozen or fail: nothing is lost, doubled or changed by it."""

import os
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState
from place import check_curves, lives, outcome, worker_pids
from sqlalchemy import func, inspect, make_url, select, text

from lrsearch import open_storage, open_study
from lrsearch.storage import NoTrialReason, TrialQueue, read_metrics
from lrsearch.storage import tables as ours
from lrsearch.worker import work
from tests.in_process import make_trainer

ONE_WORKER = ("--workers", "1")
SECRET = "s3cr3t-w0rd"


def join(study):
    return TrialQueue(study.storage, study.study_id, "cpu", seconds=60, max_failures=3)


class Died(BaseException):
    """The worker is no more: nothing after this ran."""


def train(study, queue, epochs=None):
    """Claim and train a trial in this process, as a worker that dies after some epochs."""
    passed = 0

    def next_progress(rounds):
        nonlocal passed
        if passed == epochs:
            raise Died
        passed += 1
        return next(rounds, None)

    make_trainer(study, next_progress=next_progress).train([queue.claim()])


def expires(study):
    """Return when the last lease runs out."""
    with study.storage.reading() as connection:
        return connection.execute(select(func.max(ours.leases.c.expires))).scalar_one()


def run_out(study):
    """Let every lease run out."""
    with study.storage.engine.begin() as connection:
        connection.execute(ours.leases.update().values(expires=1.0))


# --- killed -------------------------------------------------------------------------------------


def test_a_killed_workers_trial_goes_on_in_another_to_the_same_numbers(place, small_data, exact):
    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task, workers={"lease": 5.0})
    place.hold()
    killed = place.start("work")
    place.wait_until_held()
    killed.kill()
    before = read_metrics(study.storage, study.study_id)
    assert [row.epoch for row in before] == [1, 2]

    place.let_go()
    assert place.end(place.start("work")) == 0
    assert read_metrics(study.storage, study.study_id)[:2] == before
    (trial,) = study.optuna.get_trials()
    assert study.record(0).finished
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
    check_curves(study)
    first, second = (pid for pid in worker_pids(study))
    assert first == killed.pid != second
    with study.storage.reading() as connection:  # from the checkpoint: two epochs were left
        trained = connection.execute(select(ours.workers.c.epochs)).scalars().all()
    assert trained == [2, 2]


@pytest.mark.parametrize("damaged", [1, 2])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_damaged_checkpoints_are_left_out_and_named(
    place, small_data, exact, caplog, damaged, damage
):
    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task)
    for epochs in (2, 1):  # so the checkpoints are after epochs 2 and 3
        with pytest.raises(Died):
            train(study, join(study), epochs)
        run_out(study)
    checkpoints = sorted((study.files / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    for path in checkpoints[-damaged:]:
        path.write_bytes(damage(path.read_bytes()))

    last = join(study)
    train(study, last)
    check_curves(study)
    for path in checkpoints:
        assert (path.name in caplog.text) == (path in checkpoints[-damaged:])
    assert list((study.files / "checkpoints").iterdir()) == []


DAMAGES = {
    "a key of its schedule": "UPDATE trial_user_attributes SET value_json = "
    "replace(value_json, 'base_lr', 'base_lx') WHERE key = 'schedule' AND trial_id = 2",
    "the rate of its schedule": "UPDATE trial_user_attributes SET value_json = replace("
    "value_json, '\"base_lr\": 0.', '\"base_lr\": 4.') WHERE key = 'schedule' AND trial_id = 2",
    "a domain": "UPDATE trial_params SET distribution_json = replace(distribution_json, "
    "'constant', 'conttant') WHERE trial_id = 2",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_trial_in_training_whose_schedule_is_damaged_fails_and_the_study_goes_on(
    place, caplog, what
):
    """What is stored of it has no checksum until its run ends."""
    study = place.create("trouble:Fake", trials=3)
    train(study, join(study))
    with pytest.raises(Died):
        train(study, join(study), epochs=2)
    run_out(study)
    with study.storage.engine.begin() as connection:
        assert connection.execute(text(DAMAGES[what])).rowcount
    assert work(place.url, None, "cpu") is NoTrialReason.DONE
    records = open_study(open_storage(place.url)).records()
    assert [record.finished for record in records] == [True, False, True, True]
    assert "the database was damaged, or changed by hand" in records[1].error
    assert "Traceback" not in caplog.text


def test_a_trial_is_suggested_the_same_wherever_its_worker_died(place):
    studies = []
    for somewhere in (place, place.elsewhere()):
        studies.append(somewhere.create("trouble:Fake", trials=30))
        for _ in range(12):  # so that the sampler has something to go by
            train(studies[-1], join(studies[-1]))
    disturbed, undisturbed = studies

    def suggest(study, check):
        lease = join(study).claim()
        with study.storage.guarded(check or lease.check):
            trial = study.trial(lease.trial_id, lease.number)
            study.spec.search_space().suggest(trial, 200)
        return trial.params

    expected = suggest(undisturbed, None)
    deaths = 0
    while True:
        writes_left = 1

        def check(connection):
            nonlocal writes_left
            if writes_left == 0:
                raise Died
            writes_left -= 1

        try:
            found = suggest(disturbed, check)
            break
        except Died:
            deaths += 1
            assert deaths <= len(expected), "nothing of what it has written is gone on with"
            run_out(disturbed)
    assert found == expected
    assert deaths >= len(expected) - 1


@pytest.mark.slow
def test_one_worker_gives_the_same_study_also_when_killed_and_launched_again(place):
    rungs = {"kind": "horizons", "horizons": [1, 3, 4], "reduction_factor": 2}
    study = place.create("trouble:Fake", trials=14, workers={"lease": 5.0}, pruning=rungs)
    place.hold()  # in the second rung
    for _ in range(3):
        launcher = place.start("launch", "study.toml", *ONE_WORKER)
        worker = place.wait_until_held()
        launcher.kill()
        os.kill(worker, signal.SIGKILL)
    place.let_go()
    assert place.end(place.start("launch", "study.toml", *ONE_WORKER)) == 0

    undisturbed = place.elsewhere().create("trouble:Fake", trials=14, pruning=rungs)
    assert work(undisturbed.storage.url, None, "cpu") is NoTrialReason.DONE
    assert outcome(undisturbed) == outcome(study)


# --- asked to leave -----------------------------------------------------------------------------


def test_a_worker_keeps_its_trial_through_a_long_epoch_until_sigterm_hands_it_back(place):
    study = place.create("trouble:Fake", trials=1, workers={"lease": 5.0})
    place.hold()
    worker = place.start("work")
    place.wait_until_held()
    begun = expires(study)
    place.wait_for(lambda: expires(study) > begun + 2, "a lease that is renewed")
    assert join(study).claim() is NoTrialReason.WAIT
    worker.terminate()
    assert place.end(worker) == 0
    assert "handed back" in place.said(worker)
    assert join(study).claim().number == 0


@pytest.mark.slow
def test_stop_makes_all_workers_leave_and_resume_goes_on(place):
    study = place.create("trouble:Fake", trials=4)
    place.hold()
    launcher = place.start("launch", "study.toml", "--workers", "2")
    workers = {place.wait_until_held(), place.wait_until_held()}
    place.end(place.start("stop"))
    place.end(launcher)
    assert not any(map(lives, workers))
    assert join(study).claim() is NoTrialReason.STOPPED
    assert [trial.state for trial in study.optuna.trials] == [TrialState.RUNNING] * 2

    place.let_go()
    refused = place.start("resume", "--trials", "1")
    assert place.end(refused) == 1
    assert "at least the 2 trials" in place.said(refused)
    assert place.end(place.start("resume", "--trials", "3", *ONE_WORKER)) == 0
    assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE] * 3


def test_a_launcher_that_dies_leaves_no_worker_behind(place):
    study = place.create("trouble:Fake", trials=3, workers={"lease": 5.0})
    place.hold()
    launcher = place.start("launch", "study.toml", "--workers", "2")
    workers = {place.wait_until_held(), place.wait_until_held()}
    launcher.kill()
    place.wait_for_death(*workers)
    assert {join(study).claim().number, join(study).claim().number} == {0, 1}


@pytest.mark.parametrize("command", [pytest.param("launch", marks=pytest.mark.slow), "work"])
def test_a_second_sigint_ends_at_once(place, command):
    place.create("trouble:Stubborn", trials=1)
    process = place.start(
        *(("launch", "study.toml", *ONE_WORKER) if command == "launch" else ("work",))
    )
    worker = place.wait_until_held()
    process.send_signal(signal.SIGINT)
    place.wait_for(lambda: worker in place.pids_of("interrupted"), "the first signal's arrival")
    process.send_signal(signal.SIGINT)
    assert place.end(process) == 130
    place.wait_for_death(worker)


# --- frozen -------------------------------------------------------------------------------------


def test_a_worker_frozen_beyond_its_lease_leaves_its_trial_to_its_successor(
    place, small_data, exact
):
    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task, workers={"lease": 5.0})
    place.hold()
    frozen = place.start("work")
    place.wait_until_held()
    frozen.send_signal(signal.SIGSTOP)
    place.let_go()
    run_out(study)
    train(study, join(study))
    before = outcome(study)

    frozen.send_signal(signal.SIGCONT)
    assert place.end(frozen) == 0
    assert "taken over" in place.said(frozen)
    assert "Traceback" not in place.said(frozen)
    assert outcome(study) == before
    check_curves(study)


# --- failing ------------------------------------------------------------------------------------


def test_what_a_task_raises_fails_its_trials_and_at_last_the_launch_until_it_is_mended(place):
    study = place.create("trouble:Raises", trials=2, workers={"max_failures": 2})
    launcher = place.start("launch", "study.toml", *ONE_WORKER)
    assert place.end(launcher) == 1
    assert "2 trials in a row failed" in place.said(launcher)
    assert "RuntimeError: the wire is loose" in place.said(launcher)
    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    assert {trial.user_attrs["error"] for trial in trials} == {"RuntimeError: the wire is loose"}

    (place.folder / "mended").touch()
    assert place.end(place.start("launch", "study.toml", *ONE_WORKER)) == 0
    states = [trial.state for trial in study.optuna.get_trials()]
    assert states == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 2
    assert not any((study.files / "checkpoints").iterdir())


@pytest.mark.parametrize("error", [0, 1, 2])
def test_want_of_memory_comes_with_advice(place, error):
    study = place.create("trouble:Greedy", trials=1, task={"error": error})
    assert work(place.url, None, "cpu") is NoTrialReason.FAILING
    for trial in study.optuna.get_trials():
        assert trial.user_attrs["error"].startswith("out of memory")
        assert "lower task.batch_size" in trial.user_attrs["error"]


@pytest.mark.slow
def test_a_worker_that_crashes_is_restarted_so_often_and_no_more(place):
    study = place.create("trouble:Crashes", trials=1, workers={"max_restarts": 1})
    launcher = place.start("launch", "study.toml", *ONE_WORKER)
    assert place.end(launcher) == 1
    assert "every worker crashed 2 times" in place.said(launcher)
    assert len(worker_pids(study)) == 2  # trained again, the first epoch is no progress


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_password_is_seen_nowhere(place, storage_url):
    url = make_url(storage_url).set(password=SECRET)  # the test's server lets anyone in
    place.url = url.render_as_string(hide_password=False)
    study = place.create("trouble:Raises", trials=1, workers={"max_failures": 1})
    place.hold()
    launcher = place.start("launch", "study.toml", *ONE_WORKER)
    (place.folder / "mended").touch()
    worker = place.wait_until_held()
    for pid in (launcher.pid, worker):
        assert b"lrsearch" in (command := Path(f"/proc/{pid}/cmdline").read_bytes())
        assert SECRET.encode() not in command
    (place.folder / "mended").unlink()
    (place.folder / "study.toml").write_text(
        (place.folder / "study.toml").read_text().replace("trials = 1", "trials = 2")
    )
    refused = place.start("launch", "study.toml")
    assert place.end(refused) == 1
    assert "another spec" in place.said(refused)
    place.let_go()
    assert place.end(launcher) == 0
    for command in (("status",), ("status", "--json"), ("export",)):
        assert place.end(place.start(*command)) == 0

    assert "***" in place.logs()
    with study.storage.reading() as connection:
        tables = inspect(connection).get_table_names()
        rows = [connection.execute(text(f"SELECT * FROM {name}")).all() for name in tables]
    for seen in (place.logs(), repr(rows), repr(study.storage), repr(study.storage.engine)):
        assert SECRET not in seen
    for path in place.folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
