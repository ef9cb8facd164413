"""Where workers run: what this machine, a Ray cluster and SLURM have to offer the launcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lrsearch.study import Study
from lrsearch.tasks import Slot


class PlacedWorker(Protocol):
    """A worker that was started: it waits until there is room for it, runs, and ends."""

    @property
    def log(self) -> Path:
        """What it says."""
        ...

    @property
    def process(self) -> tuple[str, int] | None:
        """The host and the id of its process, once they are known."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is no room for it yet."""
        ...

    def poll(self) -> int | None:
        """Return its exit status; `None` while it waits or runs."""
        ...

    def send(self, number: int) -> None:
        """Send it a signal; one that waits never starts, and has ended with status 0."""
        ...


class Placement(Protocol):
    """Starts workers, wherever that is."""

    @property
    def device(self) -> str:
        """What each trains on: a device of torch, or all that are its trial's."""
        ...

    def wanted(self, study: Study) -> int:
        """Return how many workers a study is to have now."""
        ...

    def start(self, study: Study, url: str, places: Sequence[int]) -> Sequence[PlacedWorker]:
        """Start a worker in each of some places, which have numbers from 0 on.

        Raises:
            PlacementError: if they cannot be started there.
        """
        ...

    def summary(self) -> str:
        """Return where its workers are, in a line; "" where the study says as much."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def worker_command(study: Study, slot: Slot) -> list[str]:
    """Return the arguments of `lrsearch` with which a worker works on a study.

    It trusts the code that the study names, since who starts it has looked.
    """
    where = ["--device", slot.device, "--pack", slot.pack]
    return ["work", "--study", study.name, *where, "--trust"]
