"""Storages that fail under the workers' feet: they recover or say why not, and lose nothing."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from place import Place, check_curves

from lrsearch.storage import read_metrics

ONE_WORKER = ("--workers", "1")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 8 MB."""
    with TemporaryDirectory(prefix="lrsearch-disk-") as folder:
        mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder)
        yield Path(folder)
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*args: str) -> None:
    done = subprocess.run(["mount", *args], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; return the file that does."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def check_complete(study, trials):
    """Check that all is as if nothing had failed."""
    assert [record.finished for record in study.records()] == [True] * trials
    assert len(read_metrics(study.storage, study.study_id)) == trials * 4
    check_curves(study)


def test_a_full_disk_is_waited_for(small_disk, place):
    place.url = f"sqlite:///{small_disk}/study.db"
    study = place.create("trouble:Fake", trials=1)
    place.hold()
    worker = place.start("work")
    place.wait_until_held()
    filler = fill(small_disk)
    place.let_go()
    place.wait_for(lambda: "the storage fails, trying again" in place.said(worker), "the failure")
    filler.unlink()
    assert place.end(worker) == 0
    assert "full" in place.said(worker)
    assert "Traceback" not in place.said(worker)
    check_complete(study, trials=1)


def test_a_quota_is_waited_for_so_often_and_no_more(place):
    """As a limit on the size of files, of which SQLite says less than of a full disk."""
    study = place.create("trouble:Fake", trials=2)

    def worker(retries):
        code = (
            f"import lrsearch.worker.worker as w; w.RETRIES = {retries}; "
            "import sys; sys.argv = ['lrsearch', 'work', '--device', 'cpu']; "
            "from lrsearch.cli import main; main()"
        )
        place.hold()
        started = place.run(sys.executable, "-c", code)
        place.wait_until_held()
        size = (place.folder / "study.db-wal").stat().st_size
        resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        place.let_go()
        return started

    given_up = worker(retries=2)
    assert place.end(given_up) == 1
    said = place.said(given_up)
    assert said.count("trying again") == 2
    assert "the storage has failed 3 times in a row: giving up" in said
    assert said.splitlines()[-1].startswith("error: storage sqlite:///")
    assert "a quota or a limit on the size of files reached?" in said.splitlines()[-1]

    patient = worker(retries=10)
    place.wait_for(lambda: "trying again" in place.said(patient), "the failure")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(patient.pid, resource.RLIMIT_FSIZE, unlimited)  # there is room again
    assert place.end(patient) == 0
    assert "Traceback" not in place.logs()
    check_complete(study, trials=2)


@pytest.mark.slow
def test_where_only_checkpoints_find_the_disk_full_training_goes_on_without(
    small_disk, place, small_data, exact, monkeypatch
):
    monkeypatch.setenv("LRSEARCH_FILES", str(small_disk))
    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task)
    place.hold()
    worker = place.start("work")
    place.wait_until_held()
    (checkpoint,) = (study.files / "checkpoints").iterdir()
    kept = checkpoint.read_bytes()
    fill(small_disk)
    place.let_go()
    place.wait_for(lambda: "goes on without" in place.said(worker), "the warning")
    assert not checkpoint.exists() or checkpoint.read_bytes() == kept
    assert place.end(worker) == 0
    assert "No space left on device" in place.said(worker)
    assert "Traceback" not in place.said(worker)
    check_complete(study, trials=1)


@pytest.mark.parametrize("command", ["launch study.toml", "status"])
def test_a_read_only_disk_is_named(small_disk, place, command):
    place.url = f"sqlite:///{small_disk}/study.db"
    study = place.create("trouble:Fake", trials=1)
    study.storage.engine.dispose()
    mount("-o", "remount,ro", str(small_disk))
    process = place.start(*command.split())
    assert place.end(process) == 1
    assert "Read-only file system" in place.said(process)
    assert str(small_disk) in place.said(process)
    assert "Traceback" not in place.said(process)


@pytest.mark.slow
def test_a_database_that_vanishes_ends_the_launch_and_comes_back_whole(place):
    study = place.create("trouble:Fake", trials=2, workers={"lease": 5.0})
    place.hold()
    launcher = place.start("launch", "study.toml", *ONE_WORKER)
    worker = place.wait_until_held()
    database, elsewhere = place.folder / "study.db", place.folder / "moved.db"
    database.rename(elsewhere)
    place.let_go()
    assert place.end(launcher) == 1
    assert "was deleted or moved; put it back and resume" in place.said(launcher)
    assert "Traceback" not in place.logs()
    place.wait_for_death(worker)
    assert not database.exists()

    elsewhere.rename(database)
    assert place.end(place.start("resume", *ONE_WORKER)) == 0
    check_complete(study, trials=2)


@pytest.mark.slow
def test_a_database_server_that_crashes_and_comes_back_is_waited_for(
    mortal_postgres, place: Place, monkeypatch
):
    monkeypatch.setenv("LRSEARCH_FILES", str(place.folder / "files"))
    place.url = mortal_postgres.get_uri(driver="psycopg")
    study = place.create("trouble:Fake", trials=6)
    place.hold()
    launcher = place.start("launch", "study.toml", "--workers", "2")
    place.wait_until_held()
    place.wait_until_held()
    os.kill(mortal_postgres.get_pid(), signal.SIGQUIT)
    place.wait_for_death(mortal_postgres.get_pid())
    place.let_go()
    place.wait_for(
        lambda: place.logs().count("the storage fails, trying again") >= 2, "both workers' failure"
    )
    mortal_postgres.ensure_postgres_running()
    assert place.end(launcher) == 0
    assert "Traceback" not in place.logs()
    check_complete(study, trials=6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage_url", "workers"),
    [("sqlite", "1"), ("sqlite", "2"), ("postgresql", "2")],
    indirect=["storage_url"],
)
def test_a_configuration_that_kills_its_process_fails_alone(storage_url, place, workers):
    """One schedule in four does; each takes three workers along, and the study goes on."""
    place.url = storage_url
    sections = {"workers": {"lease": 5.0, "max_failures": 99, "max_restarts": 3}}
    study = place.create("trouble:Deadly", trials=6, sampler={"kind": "random"}, **sections)
    launcher = place.start("launch", "study.toml", "--workers", workers)
    assert place.end(launcher) == 0, place.logs()
    failed = [record for record in study.records() if record.error]
    assert failed
    assert all(record.base_lr > 0.15 for record in failed)
    assert all("workers died with it" in record.error for record in failed)
    complete = [record for record in study.records() if record.complete]
    assert len(complete) == 6
    assert all(record.base_lr <= 0.15 for record in complete)
