"""What the tests of clusters share: a place for workers, and a Ray cluster on this machine."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.worker.place import Place

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what has Ray take 127.0.0.1 for an address
    "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home directory
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder for workers that share a SQLite file; the tests' own process works there too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "worker")  # its tasks
    place = Place(tmp_path, f"sqlite:///{tmp_path}/study.db")
    yield place
    place.close()


@pytest.fixture
def port() -> int:
    """A port of this machine that is free."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        free: int = found.getsockname()[1]
        return free


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a server, whose password is read from there."""
    # the server runs as another user where pytest runs as root, and may not look into its folders
    with TemporaryDirectory(prefix="lrsearch-serve-") as made:
        Path(made).chmod(0o755)
        monkeypatch.setenv("PGPASSFILE", f"{made}/server/pgpass")
        yield Path(made)


class RayNodes:
    """A Ray cluster of some nodes with a CPU each, and so many GPUs at the first."""

    def __init__(self, nodes: int, gpus: int = 0) -> None:
        self.log = Path(os.environ["RAY_TMPDIR"], "nodes.log")
        program = [sys.executable, Path(__file__).parent / "ray_nodes.py", str(nodes), str(gpus)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.address = self._answer()

    def status(self) -> str:
        """Return what Ray tells of the cluster, as its autoscaler sees it."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", self.address]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def add(self) -> None:
        """Have a node join."""
        self._order("add")

    def kill(self, number: int) -> None:
        """End a node, with all that runs on it."""
        self._order(f"kill {number}")

    def close(self) -> None:
        """End them all, whatever they are doing."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with self.process:
            pass

    def _order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self._answer() == "done", self.log.read_text()[-4000:]

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def ray_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayNodes]:
    """A Ray cluster of three nodes and one GPU that is none; its files are in `RAY_TMPDIR`."""
    with TemporaryDirectory(prefix="lrsearch-ray-", ignore_cleanup_errors=True) as files:
        for name, value in (RAY | {"RAY_TMPDIR": files}).items():
            monkeypatch.setenv(name, value)
        tasks = Path(__file__).parents[1] / "worker"
        path = os.pathsep.join([str(tasks), os.environ.get("PYTHONPATH", "")])
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", path)
            nodes = RayNodes(3, gpus=1)
        yield nodes
        nodes.close()
