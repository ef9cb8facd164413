"""How the weights of a network lie in a row: an optimizer's update is then a few operations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

ALIGNED = 4
"""Every weight of a row begins at a multiple of so many numbers: matrix products want 16 bytes."""


class FlatParameters:
    """Rows of P numbers that hold the weights of a network, or what an optimizer keeps of each.

    Args:
        weights: by name; of them only the shapes matter.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._shapes = {name: weight.shape for name, weight in weights.items()}
        self._sizes: list[int] = []
        for shape in self._shapes.values():
            self._sizes += [shape.numel(), -shape.numel() % ALIGNED]
        self.length = sum(self._sizes)
        """P."""

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Return the weights in a row [P], by name; the gradient of a row is then one piece too."""
        pieces = torch.split(row, self._sizes)[::2]
        pairs = zip(self._shapes.items(), pieces, strict=True)
        return {name: piece.view(shape) for (name, shape), piece in pairs}

    def parts(self, row: Tensor) -> dict[str, Tensor]:
        """Return the part of each weight in a row [P], or for each the only number of a row [1]."""
        return dict.fromkeys(self._shapes, row[0]) if len(row) == 1 else self.split(row)
