"""A task that answers at once, with noise."""

import math

import numpy as np

from lrsearch import Progress


class Noisy:
    """A task that knows nothing of horizons; its score depends on the schedule and the horizon."""

    epochs = 6
    steps_per_epoch = 30
    metric_names = ("score",)

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def run(self, schedule, *, epochs, seed, device, state=None):
        noise = np.random.default_rng([epochs, round(schedule.base_lr * 1e9)]).normal()
        for epoch in range(1, epochs + 1):
            yield Progress(
                epoch, {"score": -abs(math.log10(schedule.base_lr / 0.1)) + noise + self.shift}
            )
