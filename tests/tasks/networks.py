"""Networks and data that other processes can import."""

import multiprocessing

import torch
from torch import nn

from lrsearch.tasks import Data


def vectors(examples, dtype):
    """Return inputs [N, 8] of which the largest of the first three is the class, and as many."""
    inputs = torch.randn(examples + 30, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    targets = inputs[:, :3].argmax(dim=1)
    return Data((inputs[:examples], targets[:examples]), (inputs[examples:], targets[examples:]))


def seventy():
    return vectors(70, torch.float32)


def seventy_one_doubles():
    return vectors(71, torch.float64)


class Idle(nn.Module):
    """A network with a parameter that takes part in nothing."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, inputs):
        return self.layers(inputs)


def mlp():
    return Idle().layers


def doubles():
    return mlp().double()


def idle_doubles():
    return Idle().double()


def share_of_errors(outputs, targets):
    """Return what accuracy leaves, in double precision."""
    return (outputs.argmax(dim=1) != targets).double().mean()


def fails_elsewhere():
    """Return a network, but for another process."""
    if multiprocessing.parent_process():
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return mlp()
