"""A sampler whose numbers depend on the study's seed, the trial and the parameter alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial


class SeededSampler(BaseSampler):
    """Samples each parameter with a seed of its own, so that none depends on those before it.

    A trial whose worker died between two parameters is then completed as it would have been.

    Args:
        build: makes the sampler to ask, of a seed.
        seed: of the study.
        number: the trial's.
        family: what "schedule" is to be, whatever the sampler says; `None` to ask it.
    """

    def __init__(
        self,
        build: Callable[[int], BaseSampler],
        *,
        seed: int,
        number: int,
        family: str | None = None,
    ) -> None:
        self.build = build
        self.entropy = [seed, number]
        self.family = family
        self.sampler = self._seeded()

    def infer_relative_search_space(self, *args: Any) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled together."""
        return self._without_family(self.sampler.infer_relative_search_space(*args))

    def sample_relative(self, *args: Any) -> dict[str, Any]:
        """Sample those."""
        return self._without_family(self.sampler.sample_relative(*args))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter, with its own seed; the first trials take the families in turn."""
        if name == "schedule" and self.family:
            return self.family
        return self._seeded(name).sample_independent(study, trial, name, distribution)

    def before_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that begins."""
        self.sampler.before_trial(*args)

    def after_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that ends."""
        self.sampler.after_trial(*args)

    def _without_family(self, sampled: dict[str, Any]) -> dict[str, Any]:
        if not self.family:
            return sampled
        return {name: value for name, value in sampled.items() if name != "schedule"}

    def _seeded(self, name: str = "") -> BaseSampler:
        entropy = np.random.SeedSequence([*self.entropy, *name.encode()])
        return self.build(int(entropy.generate_state(1)[0]))


def family_in_turn(families: Sequence[str], place: int, per_family: int, seed: int) -> str | None:
    """Return the family that a trial is due to, if it is one of the first that are sampled.

    A sampler that meets a family once, with a rate that does not suit it, may never come back.

    Args:
        families: to choose from.
        place: the trial's place among those that are sampled, from 0.
        per_family: how many of the first trials each family gets.
        seed: of the order.

    Example:
        >>> dues = [family_in_turn(["cosine", "step"], place, 2, seed=0) for place in range(5)]
        >>> dues.count("cosine"), dues.count("step"), dues[-1]
        (2, 2, None)
    """
    if not 0 <= place < per_family * len(families):
        return None
    order = np.random.default_rng(seed).permutation(len(families))
    return families[int(order[place % len(families)])]
