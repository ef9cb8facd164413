"""Dropout that draws from a key: a member of a pack draws the same whoever else is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RANGE = 1 << 32


class KeyedDropout(TorchFunctionMode):
    """Lets `torch.nn.functional.dropout` draw from a key while it is entered.

    Calls are numbered, so every layer draws anew. vmap may batch over the key.

    Args:
        key: int64[], from 0 to 2³² − 1.
    """

    def __init__(self, key: Tensor) -> None:
        super().__init__()
        self.key = key
        self._calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Draw for a dropout that trains; anything else is as it is."""
        if func is functional.dropout:
            return self._dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(
        self, inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0.0:
            return inputs
        self._calls += 1
        places = torch.arange(inputs.numel(), device=inputs.device).view(inputs.shape)
        key = scrambled(scrambled(self.key) + self._calls)
        drawn = scrambled(scrambled(places) + key)
        kept = drawn >= round(p * _RANGE)
        return torch.where(kept, inputs / (1 - p) if p < 1 else inputs, 0.0)


def scrambled(numbers: Tensor) -> Tensor:
    """Return 32 bits that look random for each int64 number, by its lowest 32 bits.

    C. Wellons' lowbias32, https://nullprogram.com/blog/2018/07/31/ (2018).
    """
    x = numbers & (_RANGE - 1)
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & (_RANGE - 1)
    x = ((x ^ (x >> 15)) * 0x846CA68B) & (_RANGE - 1)
    return x ^ (x >> 16)
