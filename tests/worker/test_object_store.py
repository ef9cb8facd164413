"""Checkpoints that a URL names: machines without a shared disk go on with each other's trials."""

import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import fsspec
import objects
import pytest
import torch
from place import check_curves, worker_pids
from sqlalchemy import select

from lrsearch.errors import StorageError
from lrsearch.storage import NoTrialReason
from lrsearch.storage.tables import workers
from lrsearch.worker import work
from lrsearch.worker.checkpoints import Checkpoints
from lrsearch.worker.object_store import masked_url

SECRET = "s3cr3t/w0rd"
STATE = {"run": 1, "epoch": 3, "state": {"epoch": 3, "weights": torch.arange(9.0)}}
WORK = (
    "import objects, sys; from lrsearch.cli import main; "
    "sys.argv = ['lrsearch', 'work', '--device', 'cpu']; main()"
)


@pytest.fixture
def server():
    server = objects.Server("me", SECRET)
    yield server
    server.close()


@pytest.fixture(params=["folder", "file", "memory", "objects"])
def where(request, tmp_path, server):
    """A folder, and URLs of places that have folders, and that have none."""
    yield {
        "folder": tmp_path / "some" / "folder",
        "file": f"file://{tmp_path}/some/folder",
        "memory": "memory://bucket/some/folder",
        "objects": f"{server.url}/some/folder",
    }[request.param]
    fsspec.filesystem("memory").store.clear()


def test_what_is_saved_is_loaded_listed_and_removed_wherever_it_is(where):
    kept = Checkpoints(where)
    assert (kept.load(7), kept.trials()) == ((None, []), set())
    kept.save(7, 1, STATE)
    kept.save(7, 2, {**STATE, "run": 2})
    kept.save(70, 3, STATE)
    state, damaged = Checkpoints(where).load(7)
    assert (state["run"], damaged) == (2, [])
    assert torch.equal(state["state"]["weights"], STATE["state"]["weights"])

    name = "trial-000007-lease-00000002.pt"
    kept._files.write(name, kept._files.read(name)[:-100])
    state, (damaged,) = kept.load(7)
    assert (state["run"], damaged.name) == (1, name)
    assert kept.trials() == {7, 70}
    kept.remove(7)
    kept.remove(7)
    assert kept.trials() == {70}


@pytest.mark.slow
def test_a_killed_workers_trial_goes_on_where_the_disk_is_another(
    place, small_data, exact, server, monkeypatch
):
    monkeypatch.setenv("LRSEARCH_FILES", server.url)
    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task, workers={"lease": 5.0})
    place.hold()
    killed = place.run(sys.executable, "-c", WORK)
    place.wait_until_held()
    assert b"s3cr3t" not in Path(f"/proc/{killed.pid}/cmdline").read_bytes()
    killed.kill()
    assert len(server.objects) == 1
    shutil.rmtree(study.files, ignore_errors=True)

    place.let_go()
    assert place.end(place.run(sys.executable, "-c", WORK)) == 0
    with study.storage.reading() as connection:  # from the checkpoint: two epochs were left
        assert connection.execute(select(workers.c.epochs)).scalars().all() == [2, 2]
    check_curves(study)
    assert not server.objects
    assert not list(place.folder.rglob("*.pt"))


def test_a_store_that_fails_costs_time_alone_and_what_it_says_shows_no_secret(
    place, server, monkeypatch, caplog
):
    monkeypatch.setenv("LRSEARCH_FILES", server.url)
    study = place.create("trouble:Fake", trials=2)
    server.broken = True
    assert work(place.url, None, "cpu") is NoTrialReason.DONE
    assert [trial.state.name for trial in study.optuna.trials] == ["COMPLETE"] * 2
    for said in (
        "trial 0 begins without its checkpoints: cannot list objects://***@127.0.0.1",
        "trial 0 goes on without: cannot write trial-000000-lease-00000001.pt to objects://***@",
        "the checkpoints of trial 1 stay: cannot list",
        "RuntimeError: 500 of GET",
    ):
        assert said in caplog.text
    for secret in (SECRET, quote(SECRET, safe=""), "s3cr3t", "w0rd", "me:"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:s3cr3t/w0rd@bucket/x", r"in s3://\*\*\*@bucket/x .* need a package .*s3fs"),
        ("s33://bucket/x", "fsspec knows no s33://; did you mean 's3'"),
        ("simplecache::gcp://bucket", "fsspec knows no gcp://"),
    ],
)
def test_a_url_that_nothing_here_can_use_says_what_to_install(monkeypatch, url, message):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorageError, match=message) as caught:
        Checkpoints(url)
    assert "s3cr3t" not in str(caught.value)
    if "need" in message:
        assert "pip install 'lrsearch[files]'" in str(caught.value)
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(StorageError, match=r"need fsspec: pip install 'lrsearch\[files\]'"):
            Checkpoints(url)


def test_a_launch_with_such_a_url_ends_at_once_in_one_line(place, monkeypatch):
    monkeypatch.setenv("LRSEARCH_FILES", f"s33://me:{SECRET}@host/x")
    study = place.create("trouble:Fake", trials=1)
    process = place.start("resume")
    assert place.end(process) == 1
    error = place.said(process).splitlines()[-1]
    assert error.startswith("error: checkpoints cannot go to s33://***@host/x/")
    assert not worker_pids(study)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://me:secret@host:22/x", "sftp://***@host:22/x"),
        ("s3://KEY:ab/cd@bucket/x", "s3://***@bucket/x"),
        ("github://token@host/x", "github://***@host/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("gs://bucket/x?token=ya29", "gs://bucket/x?token=***"),
        ("simplecache::ftp://me:secret@host", "simplecache::ftp://***@host"),
        ("memory://x", "memory://x"),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    assert masked_url(url) == shown
