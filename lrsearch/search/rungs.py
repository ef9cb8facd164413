"""Rungs: which trial trains next, on which horizon and seed.

A trial climbs rungs, each a whole schedule trained on a horizon with a seed: first compressed ones
(cheap), then the full run, then the full run on further seeds. At the same epoch of one long run a
schedule that is still at a high rate looks worse than it will be; a whole schedule on a shorter
horizon has come to its end there, so values are comparable.

Two rules decide. A horizon: a trial that has trained it waits, and goes on to the next, at once or
later, when it is among the best 1/η of those that have trained it (the promotion of ASHA, Li et al.
2020, arXiv:1810.05934, which is late where it has to be). The seeds: the best by its mean so far is
trained again, until the best has been trained on as many seeds as the number of full trials asks
for. So luck has to be repeated, and what is named the best in the end is known from several seeds
(the intensification of SMAC, Hutter et al. 2011).

On two of three further seeds its runs are checks (`lrsearch.search.checks`): they stop as soon as
they are seen not to collapse, which most are early. So what fails on one seed in six is found in
half of the epochs.

The first horizon may turn out to say too little: most networks have not left their first plateau
there, or it ranks trials as chance would. Then trials begin with a longer one, if there is one.

Nothing here knows of storages or workers: the functions take values and return a decision, so they
serve in any Optuna script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Literal

from lrsearch.search.checks import least_of_check
from lrsearch.search.estimates import SeedModel

RUNS_PER_DOUBLING = 2.0
"""The work of so many full runs is for further seeds of the best, each time that the trials with a
full run have doubled.

On a task of known truth 1, 1.5, 2 and 3 let luck through in 6, 5, 5 and 2 searches of a hundred.
"""
CHECKS = 2
"""Of further seeds those that come before each that is trained in full whatever it shows."""


@dataclass(frozen=True)
class Rung:
    """One run of a trial: a whole schedule in so many epochs.

    Args:
        step: Optuna's step of the value that it reports: the horizon, and one more for each seed.
        epochs: its length.
        seed: added to the study's seed.
        full: whether it is the full run.
        check: whether that may stop early: as soon as it is seen not to collapse.
    """

    step: int
    epochs: int
    seed: int
    full: bool
    check: bool = False

    @property
    def expected_epochs(self) -> int:
        """How many of its epochs it trains as a rule."""
        return least_of_check(self.epochs) if self.check else self.epochs


def rungs_of(horizons: Sequence[int], seeds: int) -> tuple[Rung, ...]:
    """Return the rungs of trials on some horizons, the last of which is trained on some seeds.

    Example:
        >>> rungs = rungs_of([1, 6], seeds=2)
        >>> [(rung.step, rung.epochs, rung.seed, rung.check) for rung in rungs]
        [(1, 1, 0, False), (6, 6, 0, False), (7, 6, 1, True), (8, 6, 2, True), (9, 6, 3, False)]
    """
    *short, full = horizons
    of_full = range(1 + (seeds - 1) * (CHECKS + 1))
    return (
        *(Rung(epochs, epochs, 0, full=False) for epochs in short),
        *(
            Rung(full + seed, full, seed, full=True, check=seed % (CHECKS + 1) > 0)
            for seed in of_full
        ),
    )


def values_in_full(reports: Mapping[int, float], rungs: Sequence[Rung]) -> tuple[float, ...]:
    """Return what a trial came to on each full run that it has reported, by Optuna's steps.

    A check that has stopped has reported NaN.

    Example:
        >>> values_in_full({1: 0.5, 6: 0.8, 7: math.nan, 8: 0.7}, rungs_of([1, 6], seeds=3))
        (0.8, 0.7)
    """
    found = (reports.get(rung.step, math.nan) for rung in rungs if rung.full)
    return tuple(value for value in found if not math.isnan(value))


@dataclass(frozen=True)
class Standing:
    """What is known of a trial that has begun.

    Args:
        number: the trial's.
        values: what it came to on each rung up to the last that it has trained; `None` for one that
            it has left out, and for a check that has stopped. Of one that has diverged or failed to
            train on a full run leave out these: it is not to be the best.
        state: "waiting" if it can go on or end, "running", or "ended".
        learned: whether its last run ended better than a guess, as far as its task can tell.
    """

    number: int
    values: tuple[float | None, ...]
    state: Literal["waiting", "running", "ended"]
    learned: bool = True

    def value_at(self, rung: int) -> float:
        """Return what it came to on a rung that it has trained."""
        value = self.values[rung]
        assert value is not None, "it has left that rung out"
        return value


@dataclass(frozen=True)
class Step:
    """What a worker does next: begin a trial, train one on its next rung, or end one.

    `number` is the trial's, none for a new one; `rung` the index of the rung to train, none where
    the trial is to end.
    """

    number: int | None
    rung: int | None


LEARNING_JUDGED = 8
"""Trials that have come no further, from which one sees whether any learn on a horizon."""
RANKING_JUDGED = 16, 40
"""Trials trained in full from which the ranking on a horizon is judged, and at most by how many.

Of the best quarter alone a few agree as chance would in many a search whose horizon does its work.
"""


class Climb:
    """Decides which trial goes on.

    Args:
        rungs: of the study, from `rungs_of`.
        reduction_factor: η, how many trials a short horizon has for each that goes on; at least 2.
        maximize: whether more is better.
        patience: no trial begins any more when so many have begun since the best mean last rose by
            more than seeds explain; `None` for no such limit.
        longer: the index of a horizon that trials leave out, unless the one before it says too
            little; then they begin with it. `None` if all are trained.

    Example:
        >>> climb = Climb(rungs_of([1, 6], seeds=3), reduction_factor=4)
        >>> trials = [Standing(n, (0.5 + n / 100,), "waiting") for n in range(4)]
        >>> climb.step(trials, may_begin=True)  # one of four goes on, the best
        Step(number=3, rung=1)
        >>> climb.step(trials[:3], may_begin=True)
        Step(number=None, rung=0)
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        reduction_factor: float,
        *,
        maximize: bool = True,
        patience: int | None = None,
        longer: int | None = None,
    ) -> None:
        self.patience = patience
        self.longer = longer
        self.rungs = tuple(rungs)
        self.reduction_factor = reduction_factor
        self.sign = 1.0 if maximize else -1.0
        self.first_full = next(index for index, rung in enumerate(rungs) if rung.full)

    def step(
        self,
        trials: Sequence[Standing],
        *,
        may_begin: bool,
        epochs_left: float = math.inf,
        lengthened: bool | None = None,
    ) -> Step | None:
        """Return what to do next; `None` if all that is left to do is being done.

        Args:
            trials: all that have begun.
            may_begin: whether the budget allows another trial.
            epochs_left: what is left of a budget of epochs, less what running trials will take.
            lengthened: whether trials begin with the longer horizon, by a caller who knows that
                `says_too_little` has said so before; else it is asked.
        """
        full = self.rungs[self.first_full].epochs
        if epochs_left >= full and (step := self._seed(trials)):
            return step
        if lengthened is None:
            lengthened = self.says_too_little(trials) is not None
        ways = self._ways(lengthened)
        in_full = len(self._in_full(trials))

        def fits(rung: int) -> bool:
            return epochs_left >= self.epochs_to_lead(rung, in_full, lengthened=lengthened)

        for horizon, rung in reversed(ways):
            if fits(rung) and (step := self._promote(trials, horizon, rung)):
                return step
        first = self.longer if lengthened and self.longer else 0
        if fits(first):
            if may_begin and not self.stagnates(trials):
                return Step(None, first)
        elif epochs_left >= full and (step := self._seed_more(trials)):
            return step
        if any(trial.state == "running" for trial in trials):
            return None
        if epochs_left >= full and (step := self._finish(trials, ways)):
            return step
        waiting = [trial.number for trial in trials if trial.state == "waiting"]
        return Step(waiting[0], None) if waiting else None

    def says_too_little(self, trials: Sequence[Standing]) -> str | None:
        """Return why trials are to begin with the longer horizon, if they are.

        On the one before it no trial has learned anything but those that went on, so that chance
        says who goes on next; or those that were trained in full ended in no order that it had told
        (Kendall's τ ≤ 0). Once some have begun so, all do.

        Example:
            >>> climb = Climb(rungs_of([2, 3, 6], seeds=3), reduction_factor=4, longer=1)
            >>> trials = [Standing(n, (0.1,), "waiting", learned=False) for n in range(8)]
            >>> climb.says_too_little(trials)
            'none of 8 trials has learned anything in 2 epochs'
        """
        if self.longer is None:
            return None
        horizon = self.longer - 1
        epochs = self.rungs[horizon].epochs
        there = [trial for trial in trials if len(trial.values) > horizon]
        if any(trial.values[horizon] is None for trial in there):
            return f"other trials do not begin with {epochs} epochs either"
        learned = [trial.learned for trial in there if len(trial.values) == horizon + 1]
        if len(learned) >= LEARNING_JUDGED and not any(learned):
            return f"none of {len(learned)} trials has learned anything in {epochs} epochs"
        least, most = RANKING_JUDGED
        full = self._in_full(there)[:most]
        pairs = [(trial.value_at(horizon), trial.value_at(self.first_full)) for trial in full]
        if len(pairs) >= least and _agreement(pairs) <= 0:
            return f"{epochs} epochs rank the {len(pairs)} trials trained in full as chance would"
        return None

    def seeds_due(self, full_trials: int) -> int:
        """Return on how many seeds the best is to have been trained, among so many full trials."""
        first, *further = (rung.expected_epochs for rung in self.rungs[self.first_full :])
        work = first * RUNS_PER_DOUBLING * math.log2(max(1, full_trials))
        return 1 + sum(spent <= work for spent in accumulate(further))

    def epochs_to_lead(self, rung: int, full_trials: int, *, lengthened: bool = False) -> int:
        """Return what a trial takes from a rung on to become the best of so many full trials.

        The rungs up to the full run, and the seeds that are due then: a new best on one seed would
        be luck.
        """
        above = [to for _, to in self._ways(lengthened) if to > rung]
        due = self.seeds_due(full_trials + 1)
        further = self.rungs[self.first_full + 1 : self.first_full + due]
        climbs = sum(self.rungs[each].epochs for each in (rung, *above))
        return climbs + sum(each.expected_epochs for each in further)

    def mean(self, trial: Standing) -> float:
        """Return the mean of a trial's full runs, larger being better; of none, minus infinity."""
        full = self._full_values(trial)
        return self.sign * math.fsum(full) / len(full) if full else -math.inf

    def stagnates(self, trials: Sequence[Standing]) -> bool:
        """Return whether the best mean has not risen by more than seeds explain for too long."""
        if self.patience is None or len(trials) <= self.patience:
            return False
        full = self._in_full(trials)
        since = trials[len(trials) - self.patience].number
        earlier = [trial for trial in full if trial.number < since]
        if not earlier:
            return False
        model = SeedModel([self._full_values(trial) for trial in full])
        best = max(full, key=self.mean)
        estimate = model.estimate(self._full_values(best))
        noise = estimate.error if estimate else 0.0
        return self.mean(best) <= max(map(self.mean, earlier)) + noise

    def _in_full(self, trials: Sequence[Standing]) -> list[Standing]:
        """Return those that were trained in full."""
        return [trial for trial in trials if len(trial.values) > self.first_full]

    def _full_values(self, trial: Standing) -> list[float]:
        """Return what a trial came to on each full run."""
        return [value for value in trial.values[self.first_full :] if value is not None]

    def _ways(self, lengthened: bool) -> list[tuple[int, int]]:
        """Return for each short horizon in use the rung that comes after it, both as indices."""
        unused = None if lengthened else self.longer
        return list(pairwise(rung for rung in range(self.first_full + 1) if rung != unused))

    def _seed(self, trials: Sequence[Standing]) -> Step | None:
        """Return the next seed for the best by its mean, if it has been trained on too few."""
        full = self._in_full(trials)
        if not full:
            return None
        best = max(full, key=self.mean)
        seeds = len(best.values) - self.first_full
        if best.state == "waiting" and seeds < self.seeds_due(len(full)):
            return Step(best.number, len(best.values))
        return None

    def _seed_more(self, trials: Sequence[Standing]) -> Step | None:
        """Return the next seed for the best of those that wait and can have another."""
        most = len(self.rungs)
        can = [t for t in self._in_full(trials) if t.state == "waiting" and len(t.values) < most]
        if not can:
            return None
        best = max(can, key=self.mean)
        return Step(best.number, len(best.values))

    def _promote(self, trials: Sequence[Standing], horizon: int, rung: int) -> Step | None:
        """Return a trial that goes on to a rung from the horizon before it."""
        there = [t for t in trials if len(t.values) > horizon and t.values[horizon] is not None]
        allowed = int(len(there) / self.reduction_factor)
        ranked = sorted(there, key=lambda trial: -self.sign * trial.value_at(horizon))
        for trial in ranked[:allowed]:
            if len(trial.values) == horizon + 1 and trial.state == "waiting":
                return Step(trial.number, rung)
        return None

    def _finish(self, trials: Sequence[Standing], ways: Sequence[tuple[int, int]]) -> Step | None:
        """Return the best of those that wait, where no trial has been trained in full yet."""
        if self._in_full(trials):
            return None
        waiting = [t for t in trials if t.state == "waiting" and t.values]
        if not waiting:
            return None
        furthest = max(len(trial.values) for trial in waiting) - 1
        there = [trial for trial in waiting if len(trial.values) == furthest + 1]
        best = max(there, key=lambda trial: self.sign * trial.value_at(furthest))
        return Step(best.number, dict(ways)[furthest])


def _agreement(pairs: Sequence[tuple[float, float]]) -> float:
    """Return how far two rankings agree: Kendall's τ, not normalised, so 0 as chance has it."""
    order = [(a - c) * (b - d) for (a, b), (c, d) in combinations(pairs, 2)]
    return sum(math.copysign(1, product) for product in order if product)
