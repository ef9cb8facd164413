"""Devices: which there are, how workers are spread over them, and how one is made ready."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from lrsearch.errors import DeviceError, nearest

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names of them are `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD`."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker: its torch device, what its environment says, and its packs' size.

    Where each trial has several devices, `device` names them all (`devices_of`).
    """

    device: str
    environment: dict[str, str]
    pack: str


def devices_of(device: str) -> list[str]:
    """Return the devices that a text names, with commas in between.

    Example:
        >>> devices_of("cuda:0,cuda:1"), devices_of("cpu")
        (['cuda:0', 'cuda:1'], ['cpu'])
    """
    return [name.strip() for name in device.split(",")]


def slots(
    device: str,
    workers: int | None = None,
    per_device: int = 1,
    pack: str = "auto",
    per_trial: int = 1,
) -> list[Slot]:
    """Return the places of the workers to start.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where there is a GPU, else the CPU. Or those of each
            trial by their names, such as "cuda:1" or "cuda:0,cuda:1".
        workers: how many; else one per GPU times `per_device`, or one per CPU core.
        per_device: workers that share a GPU.
        pack: trials that each trains together, or "auto".
        per_trial: GPUs that train a trial; on a CPU as many processes do.

    Raises:
        DeviceError: if there is no such device, there are fewer GPUs than are asked for, or packs
            are to train on several.

    Example:
        >>> [slot.device for slot in slots("cpu", workers=2)]
        ['cpu', 'cpu']
        >>> slots("cpu", workers=1, per_trial=2)[0].device
        'cpu,cpu'
    """
    named = devices_of(device)
    if device not in ("auto", "cpu", "cuda"):
        _check_named(named, per_trial)
        per_trial = len(named)
    if per_trial > 1 and pack not in ("auto", "1"):
        raise DeviceError(
            f"--pack {pack} trains trials together on one device, and --gpus-per-trial {per_trial} "
            "each on several; leave one of them out"
        )
    if device not in ("auto", "cpu", "cuda"):
        return [Slot(",".join(named), {}, pack)] * (workers or 1)
    gpus = [] if device == "cpu" else _visible_gpus()
    if device == "cuda" and not gpus:
        raise DeviceError(
            "--device cuda was asked for, but torch sees no GPU; use --device cpu, "
            "or check the driver and CUDA_VISIBLE_DEVICES"
        )
    if gpus:
        if per_trial > len(gpus):
            raise DeviceError(
                f"--gpus-per-trial is {per_trial}, but torch sees {len(gpus)}; lower it, "
                "or check CUDA_VISIBLE_DEVICES"
            )
        groups = [gpus[i : i + per_trial] for i in range(0, len(gpus) - per_trial + 1, per_trial)]
        count = workers or len(groups) * per_device
        own = "cuda" if per_trial == 1 else ",".join(f"cuda:{i}" for i in range(per_trial))
        return [
            Slot(own, {"CUDA_VISIBLE_DEVICES": ",".join(groups[index % len(groups)])}, pack)
            for index in range(count)
        ]
    if per_trial > 1 and device == "auto":
        raise DeviceError(
            f"--gpus-per-trial is {per_trial}, but torch sees no GPU; check the driver and "
            "CUDA_VISIBLE_DEVICES, or say --device cpu for as many processes there"
        )
    # torch reads OMP_NUM_THREADS when it loads; one thread per process beats shared threads
    one_thread = {"OMP_NUM_THREADS": "1"}
    count = workers or max(1, len(os.sched_getaffinity(0)) // per_trial)
    return [Slot(",".join(["cpu"] * per_trial), one_thread, pack)] * count


def _check_named(devices: list[str], per_trial: int) -> None:
    """Refuse names of devices that are not there, or cannot train one trial.

    Raises:
        DeviceError: naming the first that is wrong.
    """
    count = len(_visible_gpus())
    known = ["cpu", *(f"cuda:{index}" for index in range(count))]
    for name in devices:
        if name not in known:
            raise DeviceError(f"--device names {name!r}; {nearest(name, ['auto', 'cuda', *known])}")
    gpus = [name for name in devices if name != "cpu"]
    if gpus and len(set(gpus)) < len(devices):
        raise DeviceError(
            f"--device is {','.join(devices)}: a trial's devices are GPUs, each named once, or "
            '"cpu" for each of its processes'
        )
    if per_trial not in (1, len(devices)):
        raise DeviceError(
            f"--gpus-per-trial is {per_trial}, but --device names {len(devices)}; "
            "leave one of them out"
        )


def _visible_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(index) for index in range(count)])[:count]


def prepare_torch(device: str) -> None:
    """Make torch's numbers the same in every worker, and quick: one CPU thread each.

    Args:
        device: what it trains on.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    if devices_of(device)[0] == "cpu":
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
