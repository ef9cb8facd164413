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
from lrsearch.search.checks import least_of_check
from lrsearch.search.rungs import Step
from lrsearch.search.seeded import MAX_SEEN

END = None


class Search:
    """A search whose workers train nothing: values are drawn, runs fail or diverge by chance.

    Args:
        climb: the rules.
        target: how many trials may begin that do not fail.
        epochs: the budget of them.
        workers: so many run at once.
        seed: of all that happens by chance.
        trouble: the share of runs that fail, and of those that diverge.
        learning: the share of trials that learn anything on the first horizon.
    """

    def __init__(self, climb, target, epochs, workers, seed, trouble, learning):
        self.learning = learning
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

    @property
    def left(self):
        return self.epochs - self.spent

    def to_be_the_best(self):
        """Return the epochs that take a new trial to as many full runs as the best then needs."""
        climb = self.climb
        short = [rung for rung in range(climb.first_full) if rung != climb.longer]
        if climb.longer and climb.says_too_little(self.standings):
            short = [climb.longer]
        return sum(climb.rungs[rung].epochs for rung in short) + self.in_full()

    def in_full(self):
        """Return those of them that it trains in full; of checks such that stop as early as can."""
        climb = self.climb
        due = climb.seeds_due(len(self.full) + 1)
        rungs = climb.rungs[climb.first_full : climb.first_full + due]
        return sum(least_of_check(rung.epochs) if rung.check else rung.epochs for rung in rungs)

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
                epochs_left=self.left,
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
        if step.rung is not END and step.rung != len(values):  # it leaves a horizon out
            assert (step.rung, len(values)) in [(1, 0), (2, 1)]
            assert len(self.climb.rungs[: self.climb.first_full]) == 2
            assert self.climb.longer == 1
            values = (*values, None)
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
        elif self.climb.rungs[rung].check and self.chance.random() < 0.8:  # it stops
            epochs = self.climb.rungs[rung].epochs
            self.spent -= epochs - int(self.chance.integers(least_of_check(epochs), epochs + 1))
            self.trials[number] = Standing(number, (*values, None), "waiting")
        else:
            # few different ones, so that many are equal
            value = float(self.chance.integers(0, 8)) / 7
            learned = rung > 0 or self.chance.random() < self.learning
            self.trials[number] = Standing(number, (*values, value), "waiting", learned)


def seeds(search, number):
    """Return on how many seeds a trial was trained in full."""
    return len(search.trials[number].values) - search.climb.first_full


def values_on(search, rung):
    """Return what trials have come to on a rung, of those that have trained it."""
    there = [trial.values[rung] for trial in search.standings if len(trial.values) > rung]
    return [value for value in there if value is not None]


TARGETS = st.integers(1, 40)
NO_LIMIT = st.just(math.inf)
BUDGETS = st.integers(0, 150)


@st.composite
def searches(draw, *, targets=TARGETS, epochs=NO_LIMIT, trouble=(0.0, 0.08)):
    horizons, longer = draw(
        st.sampled_from(
            [([6], None), ([1, 6], None), ([2, 5], None), ([1, 3, 6], None), ([1, 3, 6], 1)]
        )
    )
    climb = Climb(
        rungs_of(horizons, draw(st.integers(1, 6))),
        draw(st.sampled_from([2, 2.5, 3, 4])),
        maximize=draw(st.booleans()),
        longer=longer,
    )
    return Search(
        climb,
        draw(targets),
        draw(epochs),
        draw(st.integers(1, 5)),
        draw(st.integers(0, 2**32)),
        draw(st.sampled_from(trouble)),
        draw(st.sampled_from([0.0, 0.3, 1.0])),
    )


whole = settings(deadline=None)


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_only_the_best_of_those_that_have_trained_a_rung_go_on_to_the_next(search):
    climb = search.climb

    def check(search, step):
        if step is None or step.number is None or step.rung is END or step.rung > climb.first_full:
            return
        *before, mine = search.trials[step.number].values
        there = values_on(search, len(before))
        better = sum(climb.sign * value > climb.sign * mine for value in there)
        if len(there) >= climb.reduction_factor and better < len(there) // climb.reduction_factor:
            return
        # in the end, where none was trained in full, the best of those that came furthest is
        assert not search.running
        assert not search.full
        waiting = [t for t in search.standings if t.state == "waiting"]
        assert len(before) + 1 == max(len(trial.values) for trial in waiting)
        others = [t.values[-1] for t in waiting if len(t.values) == len(before) + 1]
        assert climb.sign * mine == max(climb.sign * value for value in others)

    search.run(check)


@whole
@given(searches(targets=st.integers(8, 40)))
def test_whoever_is_among_the_best_has_gone_on_in_the_end(search):
    """Late, where it was not when it had trained the rung."""
    climb = search.run().climb
    for horizon in range(climb.first_full):
        there = values_on(search, horizon)
        allowed = int(len(there) / climb.reduction_factor)
        for trial in search.standings:
            if len(trial.values) != horizon + 1 or search.trouble:
                continue
            mine = climb.sign * trial.values[horizon]
            as_good = sum(climb.sign * value >= mine for value in there)
            assert as_good > allowed


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_further_seeds_are_for_the_best_by_its_mean_and_more_than_are_due_only_in_the_end(search):
    climb = search.climb

    def check(search, step):
        if step is None or step.rung is END or step.rung <= climb.first_full:
            return
        mean = climb.mean(search.trials[step.number])
        if mean == climb.mean(search.best) and seeds(search, step.number) < climb.seeds_due(
            len(search.full)
        ):
            return
        assert search.left < search.to_be_the_best()
        waiting = [trial for trial in search.full if trial.state == "waiting"]
        others = [trial for trial in waiting if len(trial.values) < len(climb.rungs)]
        assert mean == max(map(climb.mean, others))

    search.run(check)
    assert all(seeds(search, t.number) <= len(climb.rungs) - climb.first_full for t in search.full)


@whole
@given(searches(epochs=BUDGETS, targets=st.sampled_from([3, 1000])))
def test_who_goes_on_to_the_full_run_could_also_have_the_seeds_that_the_best_needs(search):
    climb = search.climb

    def check(search, step):
        if step is None or step.rung is END or not search.full:
            return
        if step.number is None:
            assert search.left >= search.to_be_the_best()
        elif step.rung == climb.first_full:
            assert search.left >= search.in_full()

    search.run(check)


@whole
@given(searches(epochs=BUDGETS, targets=st.sampled_from([3, 1000])))
def test_a_budget_of_epochs_is_never_exceeded_and_no_run_more_would_have_been_of_use(search):
    def check(search, step):
        if step is not None and step.rung is not END:
            assert search.climb.rungs[step.rung].epochs <= search.left

    search.run(check)
    assert search.left >= 0
    if search.target == 1000:
        climb = search.climb
        assert search.left < search.to_be_the_best()
        if search.left >= climb.rungs[-1].epochs:  # all that count have had all seeds
            assert {len(trial.values) for trial in search.full} <= {len(climb.rungs)}


@whole
@given(searches(epochs=NO_LIMIT | BUDGETS))
def test_in_the_end_nothing_runs_and_nothing_waits(search):
    search.run()
    assert not search.running
    assert {trial.state for trial in search.standings} <= {"ended"}
    for trial in search.standings:
        short = trial.values[: search.climb.first_full]
        left_out = [rung for rung, value in enumerate(short) if value is None]
        assert left_out in ([], [0], [1])


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
        climb.rungs,
        climb.reduction_factor,
        maximize=climb.sign > 0,
        patience=patience,
        longer=climb.longer,
    )
    search.run()
    assert len(search.trials) < 1000
    assert search.climb.stagnates(search.standings)
    before = [t for t in search.full if t.number < max(search.trials) + 1 - patience]
    assert before  # the best of those it has waited for was trained in full


class TestAHorizonThatSaysTooLittle:
    climb = Climb(rungs_of([2, 4, 10], seeds=3), reduction_factor=4, longer=1)

    def trials(self, *, learned, told=lambda n: n, full=lambda n: n, count=8, in_full=0):
        """Return trials, the last of which were trained in full; values by their numbers."""
        return [
            Standing(
                n,
                (told(n), None, full(n)) if n >= count - in_full else (told(n),),
                "waiting",
                learned(n),
            )
            for n in range(count)
        ]

    def test_the_longer_one_is_left_out_where_the_first_says_enough(self):
        search = self.climb
        trials = self.trials(learned=lambda n: n < 1)
        assert search.says_too_little(trials) is None
        assert search.step(trials, may_begin=True) == Step(7, 2)
        assert search.step(trials[:3], may_begin=True) == Step(None, 0)

    def test_where_none_learns_anything_trials_begin_with_the_longer_one(self):
        trials = self.trials(learned=lambda n: False)
        reason = "none of 8 trials has learned anything in 2 epochs"
        assert self.climb.says_too_little(trials) == reason
        assert self.climb.step(trials, may_begin=True) == Step(7, 1)  # who has begun climbs both
        running = [Standing(t.number, t.values, "running", t.learned) for t in trials]
        assert self.climb.step(running, may_begin=True) == Step(None, 1)
        # 4 and 10 epochs more do not fit
        assert self.climb.step(running, may_begin=True, epochs_left=13) is None

    def test_before_enough_have_shown_it_none_does(self):
        trials = self.trials(learned=lambda n: False, count=7)
        assert self.climb.says_too_little(trials) is None

    @pytest.mark.parametrize(("told", "little"), [(lambda n: n, False), (lambda n: -n, True)])
    def test_so_they_do_where_it_ranks_those_trained_in_full_as_chance_would(self, told, little):
        trials = self.trials(learned=lambda n: True, told=told, count=64, in_full=16)
        assert (self.climb.says_too_little(trials) is not None) == little

    def test_once_one_has_begun_so_all_do(self):
        trials = self.trials(learned=lambda n: True)
        trials.append(Standing(8, (None, 0.5), "waiting"))
        assert "do not begin with 2 epochs" in self.climb.says_too_little(trials)

    def test_values_of_other_horizons_are_not_compared(self):
        first = [Standing(n, (100.0,), "running", learned=False) for n in range(8)]
        later = [Standing(n, (None, n / 100), "waiting") for n in range(8, 12)]
        assert self.climb.step([*first, *later], may_begin=True) == Step(11, 2)


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
    assert due[-1] == len(climb.rungs) - climb.first_full


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True).map(sorted),
    st.integers(1, 12),
)
def test_each_rung_has_a_step_of_its_own_and_each_full_run_a_seed_of_its_own(horizons, seeds):
    rungs = rungs_of(horizons, seeds)
    steps = [rung.step for rung in rungs]
    assert steps == sorted(set(steps))
    further = 3 * (seeds - 1)
    assert [rung.epochs for rung in rungs] == horizons + horizons[-1:] * further
    assert [rung.seed for rung in rungs if rung.full] == list(range(1 + further))
    assert sum(rung.full and not rung.check for rung in rungs) == seeds
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

    def test_it_learns_from_the_best_and_the_latest_few_hundred(self):
        """Up to so many all are shown; then those, by their own numbers, and all that run."""
        x = optuna.distributions.FloatDistribution(0, 1)
        shown: list[list[int]] = []

        class Looking(optuna.samplers.RandomSampler):
            def sample_independent(self, study, trial, name, distribution):
                shown.append([each.number for each in study.get_trials(deepcopy=False)])
                assert trial.number == len(values) + 1
                assert study.best_value == max(values)
                return super().sample_independent(study, trial, name, distribution)

        for count in (MAX_SEEN, 700):
            values = [n / 1000 if n < 250 else 0.2 for n in range(count)]
            study = optuna.create_study(direction="maximize")
            study.add_trials(
                create_trial(value=v, params={"x": v}, distributions={"x": x}) for v in values
            )
            study.ask()  # it runs
            study.sampler = SeededSampler(Looking, seed=0, number=count + 1, few=True)
            study.ask({"x": x})
        assert shown[0] == list(range(MAX_SEEN + 2))
        best = [*range(249, 200, -1), 200, *range(250, 300)]
        assert shown[1] == [*best, *range(500, 700), 700, 701]

    def test_one_that_diverged_on_a_further_seed_is_infeasible_and_not_complete(self):
        seen = self.see(TrialState.PRUNED, {1: 0.5, 6: 0.8}, constraints={"diverged": 1.0})
        assert seen.state == TrialState.PRUNED
        assert seen.constraints == {"diverged": 1.0}
