"""Rungs of whole schedules: who goes on, what a compressed schedule is, which horizons may be."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from lrsearch import StudySpec, create_study, open_storage
from lrsearch.errors import SpecError
from lrsearch.schedules import families
from lrsearch.search.horizons import HorizonsPruner, default_horizons
from lrsearch.search.space import SearchSpace
from lrsearch.storage import NoTrialReason, read_metrics, read_run_ends
from lrsearch.worker import work
from tests.noisy import Noisy

HORIZONS = [2, 3, 6]


def spec_with(**pruning):
    return StudySpec.from_dict(
        {
            "study": {"name": "rungs", "trials": 40, "metric": "score"},
            "task": {"run": "tests.noisy:Noisy"},
            "space": {"base_lr": {"low": 1e-4, "high": 10.0}},
            "sampler": {"kind": "random"},
            "pruning": pruning,
        }
    )


def better(direction, a, b):
    return a > b if direction == "maximize" else a < b


@given(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30),
    st.sampled_from([2, 3, 4, 2.5]),
    st.sampled_from(["maximize", "minimize"]),
)
def test_a_trial_goes_on_if_it_is_among_the_best_of_those_that_came_so_far(
    values, factor, direction
):
    study = optuna.create_study(direction=direction, sampler=RandomSampler(seed=0))
    pruner = HorizonsPruner(factor)
    for count, value in enumerate(values, 1):
        trial = study.ask()
        trial.report(value, 1)
        seen = values[:count]
        place = sum(better(direction, other, value) for other in seen)
        assert pruner.prune(study, study.trials[-1]) == (place >= max(1, count // factor))


def test_a_trial_that_has_reported_nothing_goes_on_and_one_without_a_number_does_not():
    study = optuna.create_study()
    trial = study.ask()
    assert not HorizonsPruner().prune(study, study.trials[0])
    trial.report(math.nan, 1)
    assert HorizonsPruner().prune(study, study.trials[0])


def test_a_users_own_task_is_pruned_by_horizons(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    spec = spec_with(kind="horizons", horizons=HORIZONS, reduction_factor=3)
    study = create_study(open_storage(url), spec, Noisy())
    assert work(url, "rungs", "cpu") is NoTrialReason.DONE
    trials = study.optuna.trials
    assert len(trials) == 40
    reached = {horizon: [] for horizon in HORIZONS}
    for run_end in read_run_ends(study.storage, study.study_id):  # one worker: one after the other
        horizon = HORIZONS[run_end.run]
        assert run_end.epochs == horizon
        if run_end.run:  # it was then among the best third of those that had come so far
            values = reached[HORIZONS[run_end.run - 1]]
            mine = trials[run_end.trial].intermediate_values[HORIZONS[run_end.run - 1]]
            assert sum(value > mine for value in values) < len(values) // 3
        reached[horizon].append(trials[run_end.trial].intermediate_values[horizon])
    for trial in trials:
        for horizon, next_horizon in pairwise(HORIZONS):  # late if need be, all such have gone on
            values = reached[horizon]
            best = sorted(values, reverse=True)[: len(values) // 3]
            if trial.intermediate_values.get(horizon, -math.inf) >= min(best):
                assert next_horizon in trial.intermediate_values
        complete = trial.state == TrialState.COMPLETE
        assert (HORIZONS[-1] in trial.intermediate_values) == complete
        if complete:
            assert trial.value == trial.intermediate_values[HORIZONS[-1]]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    rows = read_metrics(study.storage, study.study_id)
    for trial in trials:
        ran = [(row.run, row.epoch) for row in rows if row.trial == trial.number]
        runs = len(trial.intermediate_values)
        assert ran == [(run, e) for run in range(runs) for e in range(1, HORIZONS[run] + 1)]
        step = max((row.step for row in rows if row.trial == trial.number), default=0)
        assert step == 30 * HORIZONS[runs - 1]


def test_without_pruning_every_horizon_is_trained(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    study = create_study(open_storage(url), spec_with(kind="none", horizons=HORIZONS), Noisy())
    work(url, "rungs", "cpu")
    assert all(list(trial.intermediate_values) == HORIZONS for trial in study.optuna.trials)
    assert study.horizons == tuple(HORIZONS)


@pytest.mark.parametrize("name", families)
@settings(deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_compressed_schedule_is_the_full_one(name, seed):
    """At equal x without warmup; with one, within one compressed update either side."""
    full, parts = 1200, 6
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    schedule = SearchSpace((name,)).suggest(study.ask(), full)
    if schedule.family.reads_losses:
        losses = np.random.default_rng(seed).uniform(size=8).tolist()
        short, long = (schedule.curve(total, losses) for total in (full // parts, full))
    else:
        short, long = schedule.curve(full // parts), schedule.curve(full)
    if schedule.warmup is None and name != "noam":
        # updates just before a boundary may fall on its other side by rounding alone
        close = np.isclose(short, long[::parts], rtol=1e-6, atol=1e-12)
        assert close.mean() >= 0.97
        return
    for t, lr in enumerate(short):
        around = long[max(0, (t - 1) * parts) : (t + 1) * parts + 1]
        jumps = np.abs(np.diff(around)).max(initial=0) > 0.2 * schedule.base_lr
        assert jumps or around.min() * (1 - 1e-6) <= lr <= around.max() * (1 + 1e-6)


@pytest.mark.parametrize(
    ("pruning", "said"),
    [
        ({"kind": "horizons", "horizons": [3, 2, 6]}, "each more than the last"),
        ({"kind": "horizons", "horizons": [2, 2, 6]}, "each more than the last"),
        ({"kind": "horizons", "horizons": [0, 6]}, "from 1"),
        ({"kind": "horizons", "horizons": []}, r"pruning\.horizons = \[\]"),
        ({"kind": "horizons", "reduction_factor": 1.5}, "greater than or equal to 2"),
        ({"kind": "horizons", "horizon": [1, 6]}, "did you mean 'horizons'"),
        ({"kind": "none", "reduction_factor": 2}, "unknown key 'pruning.reduction_factor'"),
        ({"kind": "epochs", "pruner": "mediam"}, "did you mean 'median'"),
        ({"kind": "epochs"}, r"pruning\.pruner is missing"),
        ({"kind": "median"}, 'write kind = "epochs" and pruner = "median"'),
        ({"kind": "horizon"}, "did you mean 'horizons'"),
        ({"horizons": [1, 6]}, r"pruning\.kind is missing"),
    ],
)
def test_pruning_that_cannot_be_is_refused_in_words(pruning, said):
    with pytest.raises(SpecError, match=said):
        spec_with(**pruning)


def never_run(schedule, *, epochs, seed, device, state=None):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("horizons", "steps", "said"),
    [([1, 2], 30, "must end with the full run of 6 epochs"), ([1, 6], 19, "at least 20")],
)
def test_horizons_that_do_not_fit_the_task_are_refused_before_anything_is_written(
    tmp_path, horizons, steps, said
):
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    task = SimpleNamespace(epochs=6, steps_per_epoch=steps, run=never_run)
    with pytest.raises(SpecError, match=said):
        create_study(storage, spec_with(kind="horizons", horizons=horizons), task)
    assert storage.get_all_studies() == []


@given(st.integers(1, 300), st.integers(1, 400))
def test_default_horizons_fit_every_run(epochs, steps):
    horizons = default_horizons(epochs, steps)
    assert horizons[-1] == epochs
    assert all(a < b for a, b in pairwise(horizons))
    assert len(horizons) == 1 or horizons[0] * steps >= 20
    spec_with(kind="horizons", horizons=list(horizons))
