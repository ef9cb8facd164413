"""A task that several processes train together, held by a file where its test wants it."""

import multiprocessing
import os
import time
from pathlib import Path

import torch
from torch import nn

from lrsearch.tasks import Data, Supervised

RANK = 1 if multiprocessing.parent_process() else 0
UPDATES = 7
"""In an epoch."""
BEGIN = 2
"""Passes before the first update, by which processes get ready for each other."""
passes = 0


def held_loss(outputs, targets):
    """Return the cross entropy; wait in the third epoch of this process while its rank is held."""
    global passes
    passes += outputs.requires_grad
    while passes > BEGIN + 2 * UPDATES and Path(f"hold-{RANK}").exists():
        Path(f"held-{os.getpid()}").touch()
        time.sleep(0.01)
    return nn.functional.cross_entropy(outputs, targets)


def spots():
    inputs = torch.randn(90, 8, generator=torch.Generator().manual_seed(0))
    targets = inputs[:, :3].argmax(dim=1)
    return Data((inputs[:61], targets[:61]), (inputs[61:], targets[61:]))


def network():
    """Return one with all that is hard to resume: dropout, and batch norm's averages."""
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )


task = Supervised(
    network, spots, held_loss, batch_size=9, drop_last=False, epochs=8, parallel="ddp"
)
