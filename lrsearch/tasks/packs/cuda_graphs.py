"""CUDA graphs: work that the device does again and again with one launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrsearch.errors import TaskError


class Work(NamedTuple):
    """What is to become a graph.

    It reads and writes tensors that stay where they are, and never waits for the device.
    """

    do: Callable[[], None]
    written: Sequence[Tensor]
    """What it writes."""


class Recorder:
    """Records the graphs of one owner on a CUDA device.

    Args:
        device: on CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        # graphs of several owners on one stream share a workspace, which dies with the first
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, works: Sequence[Work]) -> list[Callable[[], None]]:
        """Return each work as a graph; they share memory, and must not run at the same time.

        Each is done twice here, since libraries set themselves up in their first calls; what it
        writes is as before when this returns.

        Raises:
            TaskError: if one cannot be captured.
        """
        pool = torch.cuda.graph_pool_handle()
        return [self._record(work.do, work.written, pool) for work in works]

    def _record(
        self, work: Callable[[], None], written: Sequence[Tensor], pool: Any
    ) -> Callable[[], None]:
        before = [tensor.clone() for tensor in written]
        graph = torch.cuda.CUDAGraph()
        with self._aside():
            work()
            try:
                with _refusing_to_wait():
                    work()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise _refusal(error) from error
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # after what failed in a capture its end fails too
            raise _refusal(error.__context__ or error) from error
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        return graph.replay

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on the recorder's stream, after what was begun before and before what comes."""
        present = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(present)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            present.wait_stream(self._stream)


def recorder(device: torch.device) -> Recorder | None:
    """Return what records graphs on a device; `None` elsewhere than on CUDA."""
    return Recorder(device) if device.type == "cuda" else None


def _refusal(reason: BaseException) -> TaskError:
    return TaskError(
        f"the task cannot be captured in a CUDA graph: {str(reason).splitlines()[0]}; "
        "train its trials alone"
    )


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Raise a RuntimeError at what waits for the device while the block runs.

    That is what most often cannot be captured; a capture that fails leaves torch's random numbers
    unusable in this process, also for trials that train alone.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
