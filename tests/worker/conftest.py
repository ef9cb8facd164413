"""What the tests of workers share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("place")

from place import Place  # noqa: E402 (its assertions speak only if rewritten before)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder for workers that share a SQLite file; the tests' own process works there too."""
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, f"sqlite:///{tmp_path}/study.db")
    yield place
    place.close()


@pytest.fixture
def exact() -> Iterator[None]:
    """Compute in the tests' own process with what makes numbers the same in all workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
