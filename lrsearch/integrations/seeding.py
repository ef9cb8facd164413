"""Seeds of every epoch of a run, and bytes in a checkpoint."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def seed_of(seed: int, epoch: int) -> int:
    """Return the seed of an epoch, which depends on both numbers alone.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def seed_all(seed: int, epoch: int) -> None:
    """Seed Python's, NumPy's and torch's generators for an epoch.

    So a run that goes on after it needs none of their states.
    """
    import torch

    number = seed_of(seed, epoch)
    random.seed(number)
    np.random.seed(number)  # the libraries draw from the global generator
    torch.manual_seed(number)


def as_tensor(content: bytes) -> Tensor:
    """Return bytes as a tensor, which a checkpoint can hold."""
    import torch

    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
