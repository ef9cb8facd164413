"""How the weights of a network lie in a row: an optimizer's update is then a few operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat

import torch
from torch import Tensor, nn

ALIGNED = 4
"""Every weight of a row begins at a multiple of so many numbers: matrix products want 16 bytes."""


class Rows:
    """Rows of P numbers that hold the weights of a network, or what an optimizer keeps of each.

    Args:
        trained: the weights, by name.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter]) -> None:
        self.trained = trained
        self._sizes: list[int] = []
        for parameter in trained.values():
            self._sizes += [parameter.numel(), -parameter.numel() % ALIGNED]
        self.length = sum(self._sizes)
        """P."""

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Return the weights in a row [P], by name; the gradient of a row is then one piece too."""
        pieces = torch.split(row, self._sizes)[::2]
        pairs = zip(self.trained.items(), pieces, strict=True)
        return {name: piece.view(parameter.shape) for (name, parameter), piece in pairs}

    def parts(self, row: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield each parameter with its part of a row [P], or with the only number of a row [1]."""
        parts = repeat(row[0]) if len(row) == 1 else self.split(row).values()
        return zip(self.trained.values(), parts, strict=False)
