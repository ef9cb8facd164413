"""A sampler whose numbers depend on the study's seed, the trial and the parameter alone."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from copy import copy
from functools import partial
from operator import attrgetter, itemgetter
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lrsearch.search.rungs import Rung, values_in_full

MAX_SEEN = 300
"""Trials that a sampler learns from: the latest two thirds of so many, and the best before them."""


Told = TypeVar("Told")


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
        few: whether it learns from `MAX_SEEN` trials at most also where neither is given.
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
        few: bool = False,
    ) -> None:
        self.earlier = earlier
        self.few = few
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
        if self.seen is None and not self.earlier and not self.few:
            return study, trial
        if self._view is None:
            self._view = self._look(study, trial)
        return self._view

    def _look(self, study: optuna.Study, trial: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
        trials = study.get_trials(deepcopy=False)
        number = trial.number
        if self.seen is None and not self.earlier:
            ended = [t for t in trials if t.state in _TOLD]
            if len(ended) <= MAX_SEEN:
                return study, trial
            running = [t for t in trials if t.state == TrialState.RUNNING and t.number != number]
            shown = [*_telling(ended, _final_value, study.direction), *running]
        else:
            shown = [copy(t) for t in self.earlier] + self._told(trials, study.direction)
            for number, each in enumerate(shown):
                each.number = number
            number = len(shown)
        view = study_in_memory(study.direction, shown)
        view.add_trial(create_trial(state=TrialState.RUNNING))
        own = view.get_trials(deepcopy=False)[-1]
        own.number = number
        return view, own

    def _told(self, trials: list[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
        """Return copies of the trials that tell something, as the sampler is to see them."""
        if self.seen is None:
            ended = [t for t in trials if t.state in _TOLD]
            return [copy(t) for t in _telling(ended, _final_value, direction)]
        # which ones is decided first: to copy all of some thousands takes a while
        shown = [seen for seen in map(self.seen, trials) if seen is not None]
        return [seen.copy() for seen in _telling(shown, attrgetter("value"), direction)]

    def _without_family(self, sampled: dict[str, Any]) -> dict[str, Any]:
        if not self.family:
            return sampled
        return {name: value for name, value in sampled.items() if name != "schedule"}

    def _seeded(self, name: str = "") -> BaseSampler:
        entropy = np.random.SeedSequence([*self.entropy, *name.encode()])
        return self.build(int(entropy.generate_state(1)[0]))


class _Shown(InMemoryStorage):
    """A storage that shows trials before its own.

    To add them to it would copy and check each: that takes longer than to sample.
    """

    def __init__(self, shown: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self.shown = shown

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials that are shown, then its own."""
        shown = [trial for trial in self.shown if states is None or trial.state in states]
        return [*shown, *super().get_all_trials(study_id, deepcopy, states)]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best of all these."""
        return BaseStorage.get_best_trial(self, study_id)


def study_in_memory(direction: StudyDirection, shown: Sequence[FrozenTrial] = ()) -> optuna.Study:
    """Return a study of Optuna's that lives in memory; unlike `create_study` it logs nothing.

    It shows trials that are not to change, before its own.
    """
    storage = _Shown(shown)
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


_TOLD = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of trials that tell a sampler something."""


def _final_value(trial: FrozenTrial) -> float | None:
    return trial.values[0] if trial.state == TrialState.COMPLETE else None


def _telling(
    trials: list[Told], value_of: Callable[[Told], float | None], direction: StudyDirection
) -> list[Told]:
    """Return the latest trials and the best of those before them, at most `MAX_SEEN`."""
    latest = MAX_SEEN * 2 // 3
    valued = [(value_of(trial), trial) for trial in trials[:-latest]]
    earlier = [(value, trial) for value, trial in valued if value is not None]
    earlier.sort(key=itemgetter(0), reverse=direction == StudyDirection.MAXIMIZE)
    return [*(trial for _, trial in earlier[: MAX_SEEN - latest]), *trials[-latest:]]


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
        return Seen(value, partial(_as_seen, trial, value))

    return seen


def _as_seen(trial: FrozenTrial, value: float | None) -> FrozenTrial:
    shown = copy(trial)
    shown.state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    shown.value = value
    return shown


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
