"""One trial of a pack: its schedule, what has become of it so far, and what is its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lrsearch.schedules import Schedule
from lrsearch.tasks.history import History


@dataclass
class Member:
    """One trial of a pack."""

    schedule: Schedule
    alike: int
    """Members before it with the same schedule."""
    history: History = field(default_factory=History)
    losses: list[float] = field(default_factory=list)
    """The validation losses that the schedule has heard of."""
    coming: NDArray[np.float64] | None = None
    """Rate and momentum of the updates of the coming epoch [S, 2], where they are known by now."""

    @property
    def hears(self) -> bool:
        """Whether its rates depend on its losses."""
        return self.schedule.shape.reads_losses

    def key(self, seed: int, epoch: int) -> int:
        """Return what its dropout draws from in an epoch, of 32 bits."""
        told = crc32(json.dumps(self.schedule.to_dict(), sort_keys=True).encode())
        entropy = np.random.SeedSequence([seed, epoch, told, self.alike])
        return int(entropy.generate_state(1)[0])
