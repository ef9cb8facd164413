"""What a worker is told of a place on another machine."""

from __future__ import annotations

from lrsearch.tasks import Slot


def slot_of(count: int, pack: str, *, gpus: bool) -> Slot:
    """Return what a worker is told of so many GPUs, or CPU cores, that are its own.

    Which GPUs those are, the cluster itself says in the worker's environment.
    """
    if gpus:
        return Slot("cuda" if count == 1 else ",".join(f"cuda:{i}" for i in range(count)), {}, pack)
    return Slot(",".join(["cpu"] * count), {"OMP_NUM_THREADS": "1"}, pack)
