"""`lrsearch serve`: a real PostgreSQL, killed, taken over, backed up; it tells no secret."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrsearch import open_storage
from lrsearch.cluster import Server
from lrsearch.errors import ServerError, StorageError

pytestmark = pytest.mark.slow
HUNG = 300.0


class Served:
    """`lrsearch serve` as a process of its own."""

    def __init__(self, folder, port, *options):
        self.port = port
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lrsearch", "serve", folder, "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.said = ""
        while "export LRSEARCH_STORAGE" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    @property
    def url(self):
        return self.said.split("LRSEARCH_STORAGE=")[1].split()[0]

    @property
    def postmaster(self):
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        with self.process.stdout:
            self.said += self.process.stdout.read()
        return self.process.wait()


def studies(url):
    return sorted(study.study_name for study in open_storage(url).get_all_studies())


def make_study(url, name):
    from optuna import create_study

    create_study(storage=open_storage(url), study_name=name)


def test_it_keeps_its_data_through_kills_and_backups(folder, port):
    served = Served(folder / "server", port)
    make_study(served.url, "one")
    os.kill(served.postmaster, signal.SIGKILL)  # the database: started again
    deadline = time.monotonic() + HUNG
    while True:
        try:
            assert studies(served.url) == ["one"]
            break
        except StorageError:
            assert time.monotonic() < deadline
    served.end(signal.SIGKILL)  # the program: what it left running is taken over
    served = Served(folder / "server", port)
    assert studies(served.url) == ["one"]
    postmaster = served.postmaster
    served.end(signal.SIGKILL)  # both, as if the power had failed
    os.kill(postmaster, signal.SIGKILL)
    served = Served(folder / "server", port)
    assert studies(served.url) == ["one"]
    make_study(served.url, "two")
    dump = folder / "studies.dump"
    command = [sys.executable, "-m", "lrsearch", "serve", folder / "server", "--backup", dump]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == (
        f"wrote {dump}\n"
    )
    make_study(served.url, "three")
    assert served.end() == 0
    assert served.said.endswith("stopped\n")
    served = Served(folder / "server", port, "--restore", str(dump))
    assert studies(served.url) == ["one", "two"]
    assert served.end(signal.SIGINT) == 0


def test_it_lets_nobody_in_without_the_password_and_tells_it_nobody(folder, port, monkeypatch):
    served = Served(folder / "server", port, "--host", "0.0.0.0")
    passwords = folder / "server" / "pgpass"
    secret = passwords.read_text().strip().split(":")[-1]
    assert len(secret) >= 32
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "server" / "data").stat().st_mode) == 0o700
    make_study(served.url, "one")
    commands = map(read, Path("/proc").glob("[0-9]*/cmdline"))
    kept = [*commands, (folder / "server" / "server.log").read_bytes(), served.said.encode()]
    assert all(secret.encode() not in text for text in kept)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in read(path)] == [passwords]
    assert stat.S_IMODE((folder / "server" / "server.log").stat().st_mode) == 0o600
    assert served.end() == 0
    assert f"scp -p {socket.gethostname()}:{passwords} ~/.pgpass" in served.said
    assert f"@{socket.gethostname()}:{port}/lrsearch" in served.said

    access = folder / "server" / "data" / "pg_hba.conf"
    access.write_text("host all all all trust\n")  # somebody opens it: closed at the next start
    served = Served(folder / "server", port, "--host", "0.0.0.0")
    url = f"postgresql+psycopg://{{}}127.0.0.1:{port}/{{}}"
    for who, database in (
        ("lrsearch@", "lrsearch"),
        ("lrsearch:wrong@", "lrsearch"),
        ("postgres@", "postgres"),
        (f"postgres:{secret}@", "lrsearch"),
    ):
        monkeypatch.setenv("PGPASSFILE", "/nowhere")
        with pytest.raises(StorageError) as refused:
            open_storage(url.format(who, database))
        assert secret not in str(refused.value)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert studies(url.format("lrsearch@", "lrsearch")) == ["one"]
    assert served.end() == 0

    passwords.unlink()  # lost: another is made, and the studies stay
    served = Served(folder / "server", port)
    assert passwords.read_text().strip().split(":")[-1] != secret
    assert studies(served.url) == ["one"]
    assert served.end() == 0


def read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def test_what_cannot_be_served_is_said(folder, port, monkeypatch):
    with Server(folder / "server", port=port).running() as server:
        assert server.url() == f"postgresql+psycopg://lrsearch@127.0.0.1:{port}/lrsearch"
        with pytest.raises(ServerError, match="another `lrsearch serve` runs on"):
            Server(folder / "server").running().__enter__()
        with pytest.raises(ServerError, match=r"cannot listen on 127\.0\.0\.1:.*choose another"):
            Server(folder / "other", port=port).running().__enter__()
        with pytest.raises(ServerError, match="there is no backup"):
            server.restore(folder / "missing")
        (folder / "no.dump").write_text("no dump")
        with pytest.raises(ServerError, match="pg_restore failed"):
            server.restore(folder / "no.dump")
    with pytest.raises(ServerError, match=r"cannot listen on 192\.0\.2\.1:"):
        Server(folder / "other", "192.0.2.1").running().__enter__()
    with pytest.raises(ServerError, match="holds no database"):
        Server(folder / "nothing").backup(folder / "studies.dump")
    monkeypatch.setattr("lrsearch.cluster.server.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"pip install 'lrsearch\[server\]'"):
        Server(folder / "server")
