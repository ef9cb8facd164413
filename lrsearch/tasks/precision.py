"""The precision of matrix products and convolutions, the same for a trial alone and in a pack."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""How a network is computed; its weights and their updates are kept as they are.

fp32: as the weights, also in convolutions on CUDA, for which torch's own default is tf32.
tf32: on CUDA single-precision factors are cut to 10 bits of mantissa; elsewhere it is fp32.
bf16: the forward pass is torch's autocast to bfloat16; the rest is fp32.
"""
PRECISIONS: tuple[str, ...] = get_args(Precision)


def products(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass and its backward pass."""
    return _switched(precision == "tf32") if device.type == "cuda" else nullcontext()


def forward(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass with its loss alone, inside that of `products`."""
    if precision != "bf16":
        return nullcontext()
    # a cast kept for the next layer would be one that vmap and graphs do not know
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@contextmanager
def _switched(tf32: bool) -> Iterator[None]:
    """Allow tf32 on CUDA, or not, while the block runs.

    By torch's older switches, since networks may read them, and they set the newer ones too.
    """
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases announce the newer ones
        before = [place.allow_tf32 for place in places]
        for place in places:
            place.allow_tf32 = tf32
    try:
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed
