"""Devices: which there are, how workers are spread over them, and how one is made ready."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from lrsearch.errors import DeviceError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names of them are `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD`."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker: its torch device, what its environment says, and its packs' size."""

    device: str
    environment: dict[str, str]
    pack: str


def slots(
    device: str, workers: int | None = None, per_device: int = 1, pack: str = "auto"
) -> list[Slot]:
    """Return the places of the workers to start.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where there is a GPU, else the CPU.
        workers: how many; else one per GPU times `per_device`, or one per CPU core.
        per_device: workers that share a GPU.
        pack: trials that each trains together, or "auto".

    Raises:
        DeviceError: if "cuda" is asked for and there is no GPU.

    Example:
        >>> [slot.device for slot in slots("cpu", workers=2)]
        ['cpu', 'cpu']
    """
    gpus = [] if device == "cpu" else _visible_gpus()
    if device == "cuda" and not gpus:
        raise DeviceError(
            "--device cuda was asked for, but torch sees no GPU; use --device cpu, "
            "or check the driver and CUDA_VISIBLE_DEVICES"
        )
    if gpus:
        count = workers or len(gpus) * per_device
        return [
            Slot("cuda", {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]}, pack)
            for index in range(count)
        ]
    # torch reads OMP_NUM_THREADS when it loads; one thread per process beats shared threads
    one_thread = {"OMP_NUM_THREADS": "1"}
    return [Slot("cpu", one_thread, pack)] * (workers or len(os.sched_getaffinity(0)))


def _visible_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(index) for index in range(count)])[:count]


def prepare_torch(device: str) -> None:
    """Make torch's numbers the same in every worker, and quick: one CPU thread each."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
        _keep_freed_memory()
    # the same as use_deterministic_algorithms, which loads a compiler for more than a second
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones, where it has glibc.

    glibc gives large blocks back at once, and the system clears every page that it hands out.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(setting, 2**30)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that the device, or the machine, has no memory left."""
    said = f"{type(error).__name__} {error}".lower()
    words = ("out of memory", "outofmemory", "allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(word in said for word in words)
