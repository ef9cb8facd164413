"""One of several processes that train a run together, by torch's DistributedDataParallel."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lrsearch.errors import TaskError

TIMEOUT = timedelta(minutes=30)
"""A process waits for the others so long at most, while an epoch trains."""


class Rank:
    """A process by its number from 0, and what it exchanges with the others.

    Every batch is split among them, as evenly as it goes, and the gradient is that of the whole
    batch, whatever share each has. All of them talk over this machine's loopback alone (and GPU to
    GPU), and find each other by a file.

    Args:
        number: from 0.
        count: how many they are.
        device: what this one trains on; all are of one kind.
        meeting: the file, the same for all, not there yet.
    """

    def __init__(self, number: int, count: int, device: str, meeting: Path) -> None:
        self.number = number
        self.count = count
        self.device = torch.device(device)
        self.meeting = meeting
        self._model: nn.Module | None = None
        self._joined = False

    def join(self, network: nn.Module, *, leaves_out: bool) -> None:
        """Wait for the others, and take over the weights and buffers of rank 0.

        Args:
            network: already on the device.
            leaves_out: whether the loss has no gradient for some of its parameters.

        Raises:
            TaskError: if this process trains with others already.
        """
        if dist.is_initialized():
            raise TaskError(
                "this process is in a process group of torch.distributed already; "
                "destroy that before a run on several devices"
            )
        self._joined = True
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        with _on_loopback():
            dist.init_process_group(
                "nccl" if cuda else "gloo",
                store=dist.FileStore(str(self.meeting), self.count),
                rank=self.number,
                world_size=self.count,
                timeout=TIMEOUT,
            )
            self._model = DistributedDataParallel(
                network,
                device_ids=[self.device] if cuda else None,
                find_unused_parameters=leaves_out,
            )

    def __call__(self, inputs: Tensor) -> Any:
        """Return the network's outputs; the gradients of what follows are averaged over all."""
        assert self._model is not None
        return self._model(inputs)

    def share(self, batch: Tensor) -> tuple[Tensor, float]:
        """Return this process's part of a batch, and what its loss counts in their mean.

        Where the batch has fewer examples than there are processes, one with none takes part with
        the whole batch, which counts nothing.
        """
        part = torch.tensor_split(batch, self.count)[self.number]
        return (part if len(part) else batch), len(part) * self.count / len(batch)

    def whole(self, values: Tensor, examples: Sequence[int]) -> Tensor:
        """Return the means over whole batches, float64[S, K], of what each has measured of its own.

        Args:
            values: [S, K], the means over this process's parts.
            examples: S, the sizes of the whole batches.
        """
        parts = [size // self.count + (self.number < size % self.count) for size in examples]
        shares = [part / size for part, size in zip(parts, examples, strict=True)]
        weights = torch.tensor(shares, dtype=torch.float64, device=values.device).unsqueeze(1)
        total = torch.where(weights > 0, values.double() * weights, 0.0)
        dist.all_reduce(total)
        return total

    def agree(self, value: float) -> float:
        """Return the value of rank 0."""
        agreed = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(agreed, 0)
        return float(agreed)

    def leave(self) -> None:
        """Leave the others, whether or not they are still there."""
        self._model = None
        if not self._joined or not dist.is_initialized():
            return
        if self.device.type == "cuda" and dist.group.WORLD is not None:
            dist.group.WORLD.abort()  # where a process has died, to end in order would wait for it
        dist.destroy_process_group()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have gloo and NCCL use this machine's loopback, where nobody else can connect."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    before = {name: os.environ.get(name) for name in _INTERFACES}
    os.environ.update(dict.fromkeys(_INTERFACES, loopback))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
