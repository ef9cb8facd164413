"""The rate first: the first trials train one plain schedule at rates from all over the domain.

Which rate trains decides most of what a schedule comes to, and is the same question for all of
them. A plain schedule that ends low answers it in a few short runs, and is often hard to beat
itself. But the highest rate that trained is one that may collapse on another seed, and until
several have been tried nothing tells.
"""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

RATES = 7
"""Rates at eighths of the domain."""
PLAIN = ("linear", "cosine")
"""Families that decay to nothing and ask for little else; the first that is searched is taken."""


class RatesFirstSampler(BaseSampler):
    """Has the first trials look for the rate; what else there is to sample another sampler says.

    They are linear decays without a warmup; where "linear" is not searched cosine ones, or of the
    first family.
    Their rates halve the domain again and again: its middle first, then its quarters, its eighths.
    A seed moves all of them by the same part of their distance, at most by half of it.

    Args:
        sampler: says all the rest, and everything once they have begun; `None` for TPE.
        rates: how many.
        after: trials that begin before them, such as those that are given.
        seed: by which the rates differ from study to study; `None` for those of the example.

    Example:
        >>> import lrsearch, optuna
        >>> study = optuna.create_study(sampler=lrsearch.RatesFirstSampler())
        >>> schedules = [lrsearch.suggest_schedule(study.ask(), 1000) for _ in range(3)]
        >>> [(s.family.name, round(s.base_lr, 4), s.warmup) for s in schedules]
        [('linear', 0.01, None), ('linear', 0.001, None), ('linear', 0.1, None)]
    """

    def __init__(
        self,
        sampler: BaseSampler | None = None,
        rates: int = RATES,
        after: int = 0,
        seed: int | None = None,
    ) -> None:
        self.sampler = sampler or TPESampler()
        self.rates = rates
        self.after = after
        moved = 0.0 if seed is None else random.Random(seed).uniform(-0.5, 0.5)
        self.moved = moved / (1 << rates.bit_length())

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled together."""
        space = self.sampler.infer_relative_search_space(study, trial)
        return {name: d for name, d in space.items() if self._plain(trial, name, d) is None}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample those."""
        sampled = self.sampler.sample_relative(study, trial, space)
        return {name: value for name, value in sampled.items() if name in space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter, or return what it is in a plain schedule."""
        plain = self._plain(trial, name, distribution)
        if plain is not None:
            return plain
        return self.sampler.sample_independent(study, trial, name, distribution)

    def before_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that begins."""
        self.sampler.before_trial(*args)

    def after_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that ends."""
        self.sampler.after_trial(*args)

    def reseed_rng(self) -> None:
        """Have the sampler draw other numbers."""
        self.sampler.reseed_rng()

    def _plain(self, trial: FrozenTrial, name: str, domain: BaseDistribution) -> Any:
        """Return what a parameter is in a plain schedule; `None` where that says nothing of it."""
        place = trial.number - self.after
        if not 0 <= place < self.rates:
            return None
        match name, domain:
            case "schedule", CategoricalDistribution(choices=choices):
                return next((name for name in PLAIN if name in choices), choices[0])
            case "warmup", CategoricalDistribution(choices=choices) if "none" in choices:
                return "none"
            case "linear.min_factor" | "cosine.min_factor", FloatDistribution(low=low):
                return low
            case "base_lr", FloatDistribution(low=low, high=high, log=log):
                share = _halving(place) + self.moved
                return low * math.pow(high / low, share) if log else low + share * (high - low)
        return None


def _halving(place: int) -> float:
    """Return a point of the sequence of van der Corput: 1/2, 1/4, 3/4, 1/8, 5/8, 3/8, 7/8, …"""
    digits = f"{place + 1:b}"
    return int(digits[::-1], 2) / (1 << len(digits))
