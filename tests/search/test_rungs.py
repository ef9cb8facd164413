"""Which trial goes on: whole searches are simulated, several runs at once, some failing."""

import math
from functools import partial

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from lrsearch.search import (
    Climb,
    SeededSampler,
    Standing,
    build_sampler,
    rungs_of,
    seen_by_samplers,
)
from lrsearch.search.rungs import Step

END = None


class Search:
    """A search whose workers train nothing: values are drawn, runs fail or diverge by chance.

    Args:
        climb: the rules.
        target: how many trials may begin that do not fail.
        epochs: the budget of them.
        workers: so many run at once.
        seed: of all that happens by chance.
    """

    def __init__(self, climb, target, epochs, workers, seed, trouble):
        self.climb = climb
        self.target = target
        self.epochs = epochs
        self.workers = workers
        self.trouble = trouble
        self.chance = np.random.default_rng(seed)
        self.trials = {}
        self.running = {}
        """By number, the rung that is trained, or `END`."""
        self.spent = 0
        """Epochs, those of what runs included."""

    @property
    def standings(self):
        return [self.trials[number] for number in sorted(self.trials)]

    @property
    def full(self):
        first = self.climb.first_full
        return [trial for trial in self.standings if len(trial.values) > first]

    @property
    def best(self):
        return max(self.full, key=self.climb.mean)

    def run(self, check=lambda search, step: None):
        """Search to the end; `check` sees each step before it is taken."""
        while True:
            busy = len(self.running) == self.workers or self.chance.random() < 0.4
            if self.running and busy:
                self._finish_one()
                continue
            step = self.climb.step(
                self.standings,
                may_begin=len(self.trials) < self.target,
                epochs_left=self.epochs - self.spent,
            )
            check(self, step)
            if step is not None:
                self._take(step)
            elif self.running:
                self._finish_one()
            else:
                return self

    def _take(self, step):
        number = step.number
        if number is None:
            number = max(self.trials, default=-1) + 1
            self.trials[number] = Standing(number, (), "waiting")
        values = self.trials[number].values
        assert self.trials[number].state == "waiting"
        assert step.rung in (END, len(values))
        self.trials[number] = Standing(number, values, "running")
        self.running[number] = step.rung
        if step.rung is not END:
            self.spent += self.climb.rungs[step.rung].epochs

    def _finish_one(self):
        number = int(self.chance.choice(sorted(self.running)))
        rung, values = self.running.pop(number), self.trials[number].values
        luck = self.chance.random()
        if rung is END:
            self.trials[number] = Standing(number, values, "ended")
        elif luck < self.trouble:
            del self.trials[number]  # failed
        elif luck < 2 * self.trouble:  # diverged: of its full runs nothing counts any more
            self.trials[number] = Standing(number, values[: self.climb.first_full], "ended")
        else:
            # few different ones, so that many are equal
            value = float(self.chance.integers(0, 8)) / 7
            self.trials[number] = Standing(number, (*values, value), "waiting")


TARGETS = st.integers(1, 40)
NO_LIMIT = st.just(math.inf)
BUDGETS = st.integers(0, 150)


@st.composite
def searches(draw, *, targets=TARGETS, epochs=NO_LIMIT, trouble=(0.0, 0.08)):
    horizons = draw(st.sampled_from([[6], [1, 6], [2, 5], [1, 3, 6]]))
    climb = Climb(
        rungs_of(horizons, draw(st.integers(1, 6))),
        draw(st.sampled_from([2, 2.5, 3, 4])),
        maximize=draw(st.booleans()),
    )
    return Search(
        climb,
        draw(targets),
        draw(epochs),
        draw(st.integers(1, 5)),
        draw(st.integers(0, 2**32)),
        draw(st.sampled_from(trouble)),
    )


whole = settings(deadline=None)


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_only_the_best_of_those_that_have_trained_a_rung_go_on_to_the_next(search):
    climb = search.climb

    def check(search, step):
        if step is None or step.number is None or step.rung is END or step.rung > climb.first_full:
            return
        mine = search.trials[step.number].values[-1]
        there = [t.values[step.rung - 1] for t in search.standings if len(t.values) >= step.rung]
        better = sum(climb.sign * value > climb.sign * mine for value in there)
        if len(there) >= climb.reduction_factor and better < len(there) // climb.reduction_factor:
            return
        # in the end, where none was trained in full, the best of those that came furthest is
        assert not search.running
        assert not search.full
        waiting = [t for t in search.standings if t.state == "waiting"]
        assert step.rung == max(len(trial.values) for trial in waiting)
        others = [t.values[-1] for t in waiting if len(t.values) == step.rung]
        assert climb.sign * mine == max(climb.sign * value for value in others)

    search.run(check)


@whole
@given(searches(targets=st.integers(8, 40)))
def test_whoever_is_among_the_best_has_gone_on_in_the_end(search):
    """Late, where it was not when it had trained the rung."""
    climb = search.run().climb
    for rung in range(1, climb.first_full + 1):
        there = [trial for trial in search.standings if len(trial.values) >= rung]
        allowed = int(len(there) / climb.reduction_factor)
        for trial in there:
            mine = climb.sign * trial.values[rung - 1]
            as_good = sum(climb.sign * t.values[rung - 1] >= mine for t in there)
            if as_good <= allowed and not search.trouble:
                assert len(trial.values) > rung


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_further_seeds_are_for_the_best_by_its_mean_and_no_more_than_are_due(search):
    climb = search.climb

    def check(search, step):
        if step is None or step.rung is END or step.rung <= climb.first_full:
            return
        trial = search.trials[step.number]
        assert climb.mean(trial) == climb.mean(search.best)
        seeds = len(trial.values) - climb.first_full
        assert seeds < climb.seeds_due(len(search.full)) <= len(climb.rungs) - climb.first_full

    search.run(check)


@whole
@given(searches(epochs=BUDGETS, targets=st.sampled_from([3, 1000])))
def test_a_budget_of_epochs_is_never_exceeded_and_no_trial_more_would_have_fitted(search):
    def check(search, step):
        if step is not None and step.rung is not END:
            assert search.spent + search.climb.rungs[step.rung].epochs <= search.epochs

    search.run(check)
    assert search.spent <= search.epochs
    if search.target == 1000:
        to_full = search.climb.rungs[: search.climb.first_full + 1]
        assert search.epochs - search.spent < sum(rung.epochs for rung in to_full)


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_in_the_end_nothing_runs_and_nothing_waits(search):
    search.run()
    assert not search.running
    assert {trial.state for trial in search.standings} <= {"ended"}
    assert all(math.isfinite(value) for trial in search.standings for value in trial.values)


@whole
@given(searches())
def test_a_budget_of_trials_is_exact_and_its_best_is_known_from_the_seeds_that_are_due(search):
    search.run()
    assert len(search.trials) == search.target
    if not search.trouble:
        assert search.full
    if search.full:
        climb = search.climb
        seeds = [
            len(trial.values) - climb.first_full
            for trial in search.full
            if climb.mean(trial) == climb.mean(search.best)
        ]
        due = climb.seeds_due(len(search.full))
        if search.trouble:  # seeds were due among some that have diverged since
            assert due <= max(seeds) <= climb.seeds_due(search.target)
        else:
            assert max(seeds) == due
    else:  # whatever could have been trained in full has been tried
        assert all(trial.state == "ended" for trial in search.standings)


@whole
@given(searches())
def test_nothing_ends_while_it_could_be_needed(search):
    """One that has ended can be trained no more, so all begin, climb and are seeded before."""

    def check(search, step):
        if step is not None and step.number is not None and step.rung is END:
            assert not search.running
            assert len(search.trials) == search.target
            waiting = [t for t in search.standings if t.state == "waiting"]
            assert search.full or not any(trial.values for trial in waiting)

    search.run(check)


@whole
@given(searches(targets=st.just(1000), trouble=(0.0,)), st.integers(1, 12))
def test_patience_ends_a_search_that_gets_no_better(search, patience):
    climb = search.climb
    search.climb = Climb(
        climb.rungs, climb.reduction_factor, maximize=climb.sign > 0, patience=patience
    )
    search.run()
    assert len(search.trials) < 1000
    assert search.climb.stagnates(search.standings)
    before = [t for t in search.full if t.number < max(search.trials) + 1 - patience]
    assert before  # the best of those it has waited for was trained in full


def test_a_trial_of_a_small_search_is_trained_in_full_all_the_same():
    climb = Climb(rungs_of([1, 6], seeds=3), reduction_factor=4)
    trials = [Standing(0, (0.3,), "waiting"), Standing(1, (0.5,), "waiting")]
    assert climb.step(trials, may_begin=False) == Step(1, 1)
    assert climb.step(trials, may_begin=False, epochs_left=5) == Step(0, END)
    trials[1] = Standing(1, (0.5, 0.9), "waiting")
    assert climb.step(trials, may_begin=False) == Step(0, END)


def test_the_seeds_that_are_due_grow_with_the_trials_and_end_at_the_most():
    climb = Climb(rungs_of([1, 6], seeds=5), reduction_factor=4)
    due = [climb.seeds_due(count) for count in range(200)]
    assert due[:2] == [1, 1]
    assert due == sorted(due)
    assert due[-1] == 5


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True).map(sorted),
    st.integers(1, 12),
)
def test_each_rung_has_a_step_of_its_own_and_each_full_run_a_seed_of_its_own(horizons, seeds):
    rungs = rungs_of(horizons, seeds)
    steps = [rung.step for rung in rungs]
    assert steps == sorted(set(steps))
    assert [rung.epochs for rung in rungs] == horizons + horizons[-1:] * (seeds - 1)
    assert [rung.seed for rung in rungs if rung.full] == list(range(seeds))
    assert {rung.seed for rung in rungs if not rung.full} <= {0}
    assert [rung.full for rung in rungs] == [rung.step >= horizons[-1] for rung in rungs]


class TestWhatASamplerSees:
    rungs = rungs_of([1, 6], seeds=3)

    def see(self, state, reports, **given):
        value = 0.99 if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state,
            value=value,
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            intermediate_values=reports,
            **given,
        )
        seen = seen_by_samplers(self.rungs)(trial)
        return seen and seen.copy()

    @pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING])
    def test_one_that_waits_or_goes_on_tells_already_what_it_has_shown(self, state):
        short = self.see(state, {1: 0.5})
        assert (short.state, short.intermediate_values) == (TrialState.PRUNED, {1: 0.5})
        full = self.see(state, {1: 0.5, 6: 0.8, 7: 0.6})
        assert (full.state, full.value) == (TrialState.COMPLETE, pytest.approx(0.7))

    def test_one_that_has_shown_nothing_or_failed_tells_nothing(self):
        assert self.see(TrialState.RUNNING, {}) is None
        assert self.see(TrialState.PRUNED, {}) is None  # a duplicate
        assert self.see(TrialState.FAIL, {1: 0.5, 6: 0.8}) is None

    @pytest.mark.parametrize("options", [{}, {"multivariate": True, "group": True}])
    def test_samplers_of_optuna_learn_from_them_and_note_nothing_with_others(self, options):
        study = optuna.create_study(direction="maximize")
        for number in range(20):
            study.sampler = SeededSampler(
                partial(build_sampler, "tpe", options),
                seed=0,
                number=number,
                seen=seen_by_samplers(self.rungs),
            )
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            y = trial.suggest_float("y", 0, 1)
            trial.report(-abs(x - 0.7) - abs(y - 0.2), 6)
        late = [trial.params for trial in study.trials[12:]]
        assert sum(abs(p["x"] - 0.7) + abs(p["y"] - 0.2) for p in late) / len(late) < 0.4
        assert [trial.system_attrs for trial in study.trials] == [{}] * 20

    def test_one_that_diverged_on_a_further_seed_is_infeasible_and_not_complete(self):
        seen = self.see(TrialState.PRUNED, {1: 0.5, 6: 0.8}, constraints={"diverged": 1.0})
        assert seen.state == TrialState.PRUNED
        assert seen.constraints == {"diverged": 1.0}
