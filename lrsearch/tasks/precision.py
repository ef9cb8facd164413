"""The precision of matrix products and convolutions, the same for a trial alone and in a pack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, get_args

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


class _Switch(NamedTuple):
    """One of torch's switches, and its positions."""

    place: Any
    name: str
    exact: Any
    tf32: Any


def _switches() -> list[_Switch]:
    cublas, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # torch 2.8, which has none of the others
        return [_Switch(place, "allow_tf32", False, True) for place in (cublas, cudnn)]
    places = (cublas, cudnn.conv, cudnn.rnn)
    return [_Switch(place, "fp32_precision", "ieee", "tf32") for place in places]


@contextmanager
def _switched(tf32: bool) -> Iterator[None]:
    """Allow tf32 on CUDA, or not, while the block runs."""
    before = [(switch, getattr(switch.place, switch.name)) for switch in _switches()]
    try:
        for switch, _ in before:
            setattr(switch.place, switch.name, switch.tf32 if tf32 else switch.exact)
        yield
    finally:
        for switch, value in before:
            setattr(switch.place, switch.name, value)
