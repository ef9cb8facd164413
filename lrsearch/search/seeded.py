"""A sampler whose numbers depend on the study's seed, the trial and the parameter alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lrsearch.search.rungs import Rung, values_in_full

MAX_SEEN = 300
"""Trials that a sampler learns from: the latest two thirds of so many, and the best before them."""


class SeededSampler(BaseSampler):
    """Samples each parameter with a seed of its own, so that none depends on those before it.

    A trial whose worker died between two parameters is then completed as it would have been.

    Args:
        build: makes the sampler to ask, of a seed.
        seed: of the study.
        number: the trial's.
        family: what "schedule" is to be, whatever the sampler says; `None` to ask it.
        seen: how the sampler sees trials, where those that wait tell it something already.
        earlier: trials of another study that it learns from too.
    """

    def __init__(
        self,
        build: Callable[[int], BaseSampler],
        *,
        seed: int,
        number: int,
        family: str | None = None,
        seen: Callable[[FrozenTrial], Seen | None] | None = None,
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        self.earlier = earlier
        self.seen = seen
        self._view: tuple[optuna.Study, FrozenTrial] | None = None
        self.build = build
        self.entropy = [seed, number]
        self.family = family
        self.sampler = self._seeded()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled together."""
        found = self.sampler.infer_relative_search_space(*self._seen(study, trial))
        return self._without_family(found)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample those."""
        found = self.sampler.sample_relative(*self._seen(study, trial), space)
        return self._without_family(found)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter, with its own seed; the first trials take the families in turn."""
        if name == "schedule" and self.family:
            return self.family
        seen = self._seen(study, trial)
        return self._seeded(name).sample_independent(*seen, name, distribution)

    def before_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that begins."""
        self.sampler.before_trial(*args)

    def after_trial(self, *args: Any) -> None:
        """Tell the sampler of a trial that ends."""
        self.sampler.after_trial(*args)

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
        """Return the study and its trial as the sampler is to see them, read once for the trial.

        The trial is among those of the study, since samplers note with it what they sampled.
        """
        if self.seen is None and not self.earlier:
            return study, trial
        if self._view is None:
            seen = self.seen or _ended
            # which ones is decided first: to copy all of some thousands takes a while
            shown = [s for s in map(seen, study.get_trials(deepcopy=False)) if s is not None]
            view = study_in_memory(study.direction)
            told = _telling(shown, study.direction)
            view.add_trials([*self.earlier, *(each.copy() for each in told)])
            view.add_trial(create_trial(state=TrialState.RUNNING))
            self._view = view, view.get_trials(deepcopy=False)[-1]
        return self._view

    def _without_family(self, sampled: dict[str, Any]) -> dict[str, Any]:
        if not self.family:
            return sampled
        return {name: value for name, value in sampled.items() if name != "schedule"}

    def _seeded(self, name: str = "") -> BaseSampler:
        entropy = np.random.SeedSequence([*self.entropy, *name.encode()])
        return self.build(int(entropy.generate_state(1)[0]))


def study_in_memory(direction: StudyDirection) -> optuna.Study:
    """Return a study of Optuna's that lives in memory; unlike `create_study` it logs nothing."""
    storage = InMemoryStorage()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage.create_new_study([direction], "in memory")
    finally:
        optuna.logging.set_verbosity(verbosity)
    return optuna.load_study(study_name="in memory", storage=storage)


class Seen(NamedTuple):
    """A trial as a sampler is to see it: complete with a value, or pruned; `copy` makes it so."""

    value: float | None
    copy: Callable[[], FrozenTrial]


def _ended(trial: FrozenTrial) -> Seen | None:
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    return Seen(trial.values[0] if trial.values else None, lambda: trial)


def _telling(trials: list[Seen], direction: StudyDirection) -> list[Seen]:
    """Return the latest trials and the best of those before them, at most `MAX_SEEN`."""
    latest = MAX_SEEN * 2 // 3
    earlier = [trial for trial in trials[:-latest] if trial.value is not None]
    earlier.sort(key=lambda trial: trial.value or 0.0, reverse=direction == StudyDirection.MAXIMIZE)
    return [*earlier[: MAX_SEEN - latest], *trials[-latest:]]


def seen_by_samplers(rungs: Sequence[Rung]) -> Callable[[FrozenTrial], Seen | None]:
    """Return how a sampler sees the trials of a study whose trials climb rungs.

    One that was trained in full is complete, with the mean over its seeds; one that has trained a
    short horizon only is pruned there, whether it waits or has ended. What has shown nothing yet,
    and a trial that was not trained since another has the same curve, is not seen.
    """

    def seen(trial: FrozenTrial) -> Seen | None:
        reports = trial.intermediate_values
        infeasible = any(value > 0 for value in trial.constraints.values())
        if trial.state == TrialState.FAIL or not (reports or infeasible):
            return None
        full = values_in_full(reports, rungs)
        value = fmean(full) if full and not infeasible else None
        copy = partial(
            create_trial,
            state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
            value=value,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=reports,
            constraints=trial.constraints,
        )
        return Seen(value, copy)

    return seen


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
