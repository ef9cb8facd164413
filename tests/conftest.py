"""What the tests share: a small data set in FashionMNIST's format, and storages of both kinds."""

import gc
import logging
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
import pytest
from hypothesis import settings
from sqlalchemy import Connection, Engine, event, make_url

from lrsearch.storage import Storage, open_storage
from tests.servers import execute, postgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so in a script's background job; what the tests start would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as workers; read when CUDA starts

_STATE = TemporaryDirectory(prefix="lrsearch-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name  # which studies are trusted; processes inherit it

optuna.logging.set_verbosity(optuna.logging.WARNING)
settings.register_profile("any machine", deadline=None)  # however slow it is
settings.load_profile("any machine")


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes [N, …] in the IDX format that torchvision reads."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_fashion_mnist(root: Path, train: int = 1200, test: int = 200) -> Path:
    """Write a small set in FashionMNIST's place: ten blurry patterns under noise, learnable."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    patterns = np.kron(rng.uniform(0, 160, (10, 7, 7)), np.ones((4, 4)))
    for prefix, count in (("train", train), ("t10k", test)):
        labels = rng.integers(0, 10, count)
        images = patterns[labels] + rng.normal(40, 40, (count, 28, 28))
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images.clip(0, 255))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
    return root


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a small set in FashionMNIST's format."""
    return write_fashion_mnist(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def real_data() -> str:
    """The data directory with the real FashionMNIST."""
    from lrsearch.tasks.fashion_mnist import data_folder

    root = data_folder()
    if not (root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"the real FashionMNIST is not in {root} (set LRSEARCH_DATA_DIR)")
    return str(root)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server of this test run's own."""
    with postgres() as server:
        yield server.get_uri(driver="psycopg")


@pytest.fixture
def mortal_postgres() -> Iterator[Any]:
    """A real PostgreSQL server that a test may stop and start."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def storage_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A fresh, empty storage: a SQLite file, then a database in a real PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    server = make_url(request.getfixturevalue("postgres_server"))
    name = f"test_{uuid4().hex}"
    execute(server, f"CREATE DATABASE {name}")
    monkeypatch.setenv("LRSEARCH_FILES", str(tmp_path / "files"))
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def storage(storage_url: str) -> Storage:
    """A fresh storage, opened."""
    return open_storage(storage_url)


@pytest.fixture(autouse=True)
def _connections_closed() -> Iterator[None]:
    """Close at the end whatever a test has connected to: drivers warn where nobody does."""
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        engine.dispose()
    gc.unfreeze()  # a command that looks and ends leaves all to the end of its process


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a user's own settings out of the tests."""
    for name in [name for name in os.environ if name.startswith("LRSEARCH_")]:
        if name != "LRSEARCH_DATA_DIR":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a command sets up for its process: what a test logs depends on no earlier one."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> str:
    """The URL of a storage with one finished study: 8 real trials of 2 epochs on the small set."""
    from lrsearch import StudySpec, create_study, open_storage
    from lrsearch.tasks import load_task
    from lrsearch.worker import work

    url = f"sqlite:///{tmp_path_factory.mktemp('finished')}/study.db"
    spec = StudySpec.from_dict(
        {
            "study": {"name": "small", "trials": 8},
            "task": {
                "run": "lrsearch.tasks.fashion_mnist:task",
                "epochs": 2,
                "batch_size": 50,
                "data_dir": str(small_data),
            },
            "schedules": [
                {"schedule": "one_cycle", "base_lr": 0.2},
                {"schedule": "constant", "base_lr": 1e6},
            ],
        }
    )
    create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    work(url, None, "cpu")
    return url
