"""CUDA graphs: work that the device does again and again with one launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lrsearch.errors import TaskError


def captured(work: Callable[[], None], written: Sequence[Tensor]) -> Callable[[], None]:
    """Return `work` as a CUDA graph; elsewhere than on CUDA itself.

    Args:
        work: reads and writes tensors that stay where they are, and never waits for the device. It
            is done twice here, since libraries set themselves up in their first calls.
        written: what it writes; as before when this returns.

    Raises:
        TaskError: if it cannot be captured.
    """
    device = written[0].device
    if device.type != "cuda":
        return work
    before = [tensor.clone() for tensor in written]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        try:
            with torch.cuda.stream(aside), _refusing_to_wait():
                work()
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(graph):
                work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # after what failed in a capture its end fails too
            reason = error.__context__ or error
            raise TaskError(
                f"the task cannot be captured in a CUDA graph: {str(reason).splitlines()[0]}; "
                "train its trials alone"
            ) from error
    for tensor, value in zip(written, before, strict=True):
        tensor.copy_(value)
    return graph.replay


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Raise a RuntimeError at what waits for the device while the block runs.

    That is what most often cannot be captured; a capture that fails leaves torch's random numbers
    unusable in this process, also for trials that train alone.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
