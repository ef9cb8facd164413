"""A sampler whose numbers depend on the study's seed, the trial and the parameter alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lrsearch.spec import StudySpec


class SeededByName(BaseSampler):
    """Samples each parameter with a seed of its own, so that none depends on those before it.

    A trial whose worker died between two parameters is then completed as it would have been.
    """

    def __init__(self, spec: StudySpec, number: int) -> None:
        self.spec = spec
        self.number = number
        self.sampler = self._seeded()
        self.due = self._due()

    def infer_relative_search_space(self, *args: Any) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled together."""
        return self._without_due(self.sampler.infer_relative_search_space(*args))

    def sample_relative(self, *args: Any) -> dict[str, Any]:
        """Sample those."""
        return self._without_due(self.sampler.sample_relative(*args))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter, with its own seed; the first trials take the families in turn."""
        if name == "schedule" and self.due:
            return self.due
        return self._seeded(name).sample_independent(study, trial, name, distribution)

    def before_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that begins."""
        self.sampler.before_trial(*args)

    def after_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that ends."""
        self.sampler.after_trial(*args)

    def _without_due(self, found: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if k != "schedule"} if self.due else found

    def _due(self) -> str | None:
        """Return the family that this trial is due to, if it is one of the first that are sampled.

        A sampler that meets a family once, with a rate that does not suit it, may never come back.
        """
        names = self.spec.search_space().families
        place = self.number - len(self.spec.schedules)
        if not 0 <= place < self.spec.sampler.per_family * len(names):
            return None
        order = np.random.default_rng(self.spec.study.seed).permutation(len(names))
        return names[int(order[place % len(names)])]

    def _seeded(self, name: str = "") -> BaseSampler:
        entropy = [self.spec.study.seed, self.number, *name.encode()]
        return self.spec.build_sampler(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
