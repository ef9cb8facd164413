"""A task made unstable on purpose, and a stable one, for the diagnosis and for study files."""

import torch
from torch import nn

from lrsearch.tasks import Data, Supervised


def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 20, generator=generator)
    hidden = torch.tanh(x @ torch.randn(20, 40, generator=generator))
    y = (hidden @ torch.randn(40, 5, generator=generator)).argmax(dim=1)
    return Data((x[:5000], y[:5000]), (x[5000:], y[5000:]))


def plain(depth: int, gain: float) -> nn.Module:
    """So many plain layers: no normalisation, no residuals."""
    layers: list[nn.Module] = [nn.Linear(20, 64), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(64, 5))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data *= gain
            nn.init.zeros_(layer.bias)
    return network


def deep() -> nn.Module:
    """Fourteen layers whose weights start too large."""
    return plain(14, gain=1.3)


def deeper() -> nn.Module:
    """Twenty layers that start as He et al. 2015 have it."""
    return plain(20, gain=1.0)


def shallow() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))


unstable = Supervised(deep, data, batch_size=50, epochs=60)
twenty = Supervised(deeper, data, batch_size=50, epochs=10)
stable = Supervised(shallow, data, batch_size=50, epochs=60)
