"""Two configurations with the same curve are one; a curve that is all but zero is none."""

import numpy as np
import pytest
from optuna.trial import TrialState

from lrsearch import Schedule, StudySpec, create_study, open_storage
from lrsearch.errors import SpecError
from lrsearch.schedules import Clock, is_degenerate, same_curve
from lrsearch.storage import read_metrics
from lrsearch.study import read_status
from lrsearch.worker import work
from tests.noisy import Noisy

CONSTANT = {"schedule": "constant", "base_lr": 0.1}
STEP = {"schedule": "step", "base_lr": 0.1, "params": {"step_size": 0.9, "drop_factor": 0.9999}}
NOTHING = {"schedule": "exponential", "base_lr": 0.1, "params": {"decay_rate": 1e5}}


def schedule(data, **changes):
    return Schedule.from_dict({**data, **changes})


def make(tmp_path, schedules, trials, pruning="horizons", **space):
    url = f"sqlite:///{tmp_path}/study.db"
    spec = StudySpec.from_dict(
        {
            "study": {"name": "duplicates", "trials": trials, "metric": "score"},
            "task": {"run": "tests.noisy:Noisy"},
            "space": space,
            "sampler": {"kind": "random"},
            "pruning": {"kind": pruning, "horizons": [2, 6]},
            "schedules": schedules,
        }
    )
    return create_study(open_storage(url), spec, Noisy()), url


def test_curves_agree_up_to_a_thousandth_of_base_lr():
    assert same_curve(schedule(CONSTANT), schedule(STEP), Clock(500, 10))
    assert same_curve(schedule(CONSTANT), schedule(CONSTANT, base_lr=0.10009), Clock(500, 10))
    assert not same_curve(schedule(CONSTANT), schedule(CONSTANT, base_lr=0.1002), Clock(500, 10))
    warmed = {"shape": "linear", "fraction": 0.01}
    assert not same_curve(schedule(CONSTANT), schedule(CONSTANT, warmup=warmed), Clock(500, 10))


@pytest.mark.parametrize("step", [1, 250, 498])
def test_curves_that_part_at_one_update_are_two(step):
    clock = Clock(500, 10)
    one, other = (
        schedule({"schedule": "multistep", "base_lr": 0.1, "params": {"milestones": [at / 500]}})
        for at in (step, step + 1)
    )
    assert np.flatnonzero(clock.curve(one) != clock.curve(other)).tolist() == [step]
    assert not same_curve(one, other, clock)


def test_a_schedule_that_moves_the_momentum_is_another():
    cycle = {"schedule": "one_cycle", "base_lr": 0.1}
    low, high = ({"params": {"base_momentum": value}} for value in (0.8, 0.85))
    assert same_curve(schedule(cycle, **low), schedule(cycle, **low), Clock(300, 10))
    assert not same_curve(schedule(cycle, **low), schedule(cycle, **high), Clock(300, 10))
    curves = [schedule(cycle, **each).curve(300) for each in (low, high)]
    assert np.array_equal(*curves)


def test_plateau_agrees_with_none():
    plateau = {"schedule": "plateau", "base_lr": 0.1}
    assert not same_curve(schedule(plateau), schedule(plateau), Clock(300, 10))
    assert not is_degenerate(schedule(plateau), Clock(300, 10))


def test_a_duplicate_is_not_trained_and_has_the_others_result(tmp_path):
    study, url = make(tmp_path, [CONSTANT, STEP, {**CONSTANT, "base_lr": 0.3}, STEP], 4, "none")
    work(url, None, "cpu")
    first, duplicate, other, third = study.optuna.trials
    assert [t.user_attrs.get("twin") for t in study.optuna.trials] == [None, 0, None, 0]
    assert (duplicate.state, duplicate.values, duplicate.intermediate_values) == (
        (first.state, first.values, first.intermediate_values)
    )
    assert third.value == first.value != other.value
    assert {row.trial for row in read_metrics(study.storage, study.study_id)} == {0, 2}
    status = read_status(study)
    assert (status.duplicates, status.finished) == (2, 4)
    assert status.epochs < status.full_epochs


@pytest.mark.parametrize("pruning", ["rungs", "horizons"])
def test_a_duplicate_of_one_that_may_yet_go_on_ends_at_once_and_the_other_goes_on(
    tmp_path, pruning
):
    given = [CONSTANT, STEP, {**CONSTANT, "base_lr": 1e-6}, STEP]
    study, url = make(tmp_path, given, 4, pruning)
    work(url, None, "cpu")
    first, duplicate, other, third = study.optuna.trials
    assert [t.user_attrs.get("twin") for t in study.optuna.trials] == [None, 0, None, 0]
    for nothing in (duplicate, third):
        assert nothing.state == TrialState.PRUNED
        assert nothing.intermediate_values == {}
        assert not nothing.constraints
    trained = (first, other)  # too few for a quarter to go on: the best of them does in the end
    assert {trial.state for trial in trained} == {TrialState.COMPLETE, TrialState.PRUNED}
    best = max(trained, key=lambda trial: trial.intermediate_values[2])
    assert (best.number, best.state) == (study.best().number, TrialState.COMPLETE)
    assert {row.trial for row in read_metrics(study.storage, study.study_id)} == {0, 2}
    status = read_status(study)
    assert (status.duplicates, status.finished, status.epochs) == (2, 4, 2 + 2 + 6)


def test_only_trials_with_the_same_options_of_the_task_are_duplicates(tmp_path):
    space = {"families": ["constant"], "base_lr": 0.1, "warmup": "none"}
    study, url = make(tmp_path, [], 8, **space, **{"task.shift": {"choices": [0.0, 1.0]}})
    work(url, None, "cpu")
    first = {}
    for trial in study.optuna.trials:
        shift = trial.params["task.shift"]
        assert trial.user_attrs.get("twin") == first.get(shift)
        first.setdefault(shift, trial.number)
    assert len(first) == 2


@pytest.mark.parametrize("decay_rate", [400, 760, 800, 1e4])
def test_what_is_above_zero_in_less_than_a_hundredth_of_the_updates_trains_nothing(decay_rate):
    decaying = schedule({**NOTHING, "params": {"decay_rate": decay_rate}})
    above = decaying.curve(1000) > 1e-3 * decaying.base_lr
    assert is_degenerate(decaying, Clock(1000, 10)) == (above.mean() < 0.01)


def test_what_would_train_nothing_is_refused_before_it_is_trained(tmp_path):
    assert is_degenerate(schedule(NOTHING), Clock(180, 10))
    with pytest.raises(SpecError, match=r"number 2 is all but zero"):
        make(tmp_path, [CONSTANT, NOTHING], 3)
    study, url = make(tmp_path, [], 3, **{
        "families": ["exponential"], "warmup": "none", "exponential.decay_rate": 1e5,
    })  # fmt: skip
    work(url, None, "cpu")
    assert all(trial.state == TrialState.PRUNED for trial in study.optuna.trials)
    assert all(trial.user_attrs["degenerate"] for trial in study.optuna.trials)
    assert read_metrics(study.storage, study.study_id) == []
