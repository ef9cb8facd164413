"""The conditional space: what is searched is exactly what the study says, and params suffice."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from lrsearch import Schedule, SearchSpace, families, suggest_schedule
from lrsearch.errors import LrsearchError, ScheduleError, SpecError
from lrsearch.schedules import Cosine, Cyclic, MultiStep, OneCycle, Warmup
from lrsearch.search.space import parameters


def draw(space: SearchSpace, seed: int, total_steps: int) -> tuple[Schedule, dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.suggest(trial, total_steps), trial.params


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), total_steps=st.sampled_from([20, 99, 100, 1950, 10**6]))
def test_params_rebuild_the_schedule_without_the_trial(seed, total_steps):
    space = SearchSpace()
    schedule, params = draw(space, seed, total_steps)
    assert space.suggest(FixedTrial(params), total_steps) == schedule
    assert Schedule.from_dict(schedule.to_dict()) == schedule


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_params_of_a_schedule_are_those_it_was_suggested_by(seed):
    space = SearchSpace()
    schedule, params = draw(space, seed, 1950)
    found = space.params(schedule, 1950)
    if found is None:  # a share that rounding has moved across the edge of its domain
        assert schedule.family.name == "multistep"
        return
    assert found.keys() == params.keys()
    for name, value in params.items():
        assert found[name] == (pytest.approx(value) if isinstance(value, float) else value), name


@pytest.mark.parametrize("name", families)
def test_only_the_chosen_family_is_asked_for_parameters(name):
    for seed in range(10):
        schedule, params = draw(SearchSpace((name,)), seed, 1950)
        own = {key.split(".")[0] for key in params if "." in key}
        assert own <= {name}
        assert params["schedule"] == name == schedule.family.name
        assert ("warmup" in params) is not families[name].has_own_warmup
        assert ("warmup_steps" in params) == (params.get("warmup", "none") != "none")
        assert ("cyclic.gamma" in params) == (params.get("cyclic.mode") == "exp_range")


def test_warmup_steps_span_10_updates_to_a_tenth_of_the_run():
    steps = [draw(SearchSpace(), seed, 1950)[1].get("warmup_steps") for seed in range(300)]
    steps = [count for count in steps if count]
    assert 10 <= min(steps) < 20
    assert 150 < max(steps) <= 195
    below_middle = sum(count < (10 * 195) ** 0.5 for count in steps) / len(steps)
    assert 0.35 < below_middle < 0.65  # uniform on the logarithm


def test_a_run_under_100_updates_offers_no_warmup():
    for seed in range(50):
        schedule, params = draw(SearchSpace(), seed, 99)
        assert schedule.warmup is None
        assert "warmup" not in params


def test_fixed_and_narrowed_parameters():
    space = SearchSpace.read(
        ["step", "one_cycle"],
        {
            "base_lr": {"low": 1e-3, "high": 1e-2},
            "step.drop_factor": 0.5,
            "one_cycle.pct_start": {"low": 0.2, "high": 0.25},
            "one_cycle.anneal": "linear",
            "warmup": "linear",
            "warmup_steps": 50,
            "warmup_start": {"low": 0.0, "high": 0.5},
            "warmup_prepend": {"choices": [True, False]},
            "warmup_from_zero": True,
        },
    )
    for seed in range(30):
        schedule, params = draw(space, seed, 1000)
        assert 1e-3 <= schedule.base_lr <= 1e-2
        if schedule.family.name == "step":
            assert schedule.family.drop_factor == 0.5
            assert "step.drop_factor" not in params
            start, prepend = params["warmup_start"], params["warmup_prepend"]
            assert schedule.warmup == Warmup("linear", 0.05, start, prepend, from_zero=True)
            assert space.params(schedule, 1000) == params
        else:
            assert 0.2 <= schedule.family.pct_start <= 0.25
            assert schedule.family.anneal == "linear"


@pytest.mark.parametrize(
    ("names", "domains", "said"),
    [
        (["cosin"], {}, "did you mean 'cosine'"),
        ([], {}, "at least one"),
        (["cosine", "cosine"], {}, "none twice"),
        (None, {"cosine.min_facto": 0.1}, "did you mean 'cosine.min_factor'"),
        (None, {"cosine.min_factor": 1.5}, "0 ≤ value ≤ 1, but may be 1.5"),
        (None, {"cosine.min_factor": {"low": 0.5, "high": 0.1}}, "low <= high"),
        (None, {"cosine.min_factor": {"low": 0.1, "high": 1.1}}, "may be 1.1"),
        (None, {"cosine.min_factor": {"lo": 0.1}}, "did you mean 'low'"),
        (None, {"one_cycle.anneal": "cosine"}, "one of cos, linear"),
        (None, {"multistep.milestones": [0.5, 0.2]}, "increasing"),
        (None, {"plateau.patience": 1.5}, "whole number"),
        (None, {"one_cycle.base_momentum": 0.97}, "0.97 > 0.95; swap them"),
        (None, {"base_lr": 0}, "0 < value, but may be 0"),
        (None, {"base_lr": {"low": 0.0, "high": 1.0, "log": True}}, "low > 0"),
        (None, {"base_lr": {"choices": []}}, "choices must be one or more"),
        (None, {"warmup_prepend": 1}, "true or false, but may be 1"),
        (None, {"warmup": "lineal"}, "one of none, linear"),
        (["cosine"], {"step.drop_factor": 0.5}, "not among the families"),
    ],
)
def test_bad_spaces_are_refused(names, domains, said):
    with pytest.raises((SpecError, ScheduleError), match=said.replace("|", r"\|")):
        SearchSpace.read(names, domains)


def test_a_warmup_that_reaches_the_whole_run_is_refused_before_any_trial():
    space = SearchSpace.read(None, {"warmup_steps": {"low": 10, "high": 100}})
    space.check_run(101)
    with pytest.raises(SpecError, match="under the run's 100 updates, but may be 100"):
        space.check_run(100)


def test_schedules_outside_the_space_have_no_params():
    space = SearchSpace.read(["cosine", "cyclic", "one_cycle", "multistep"])
    inside = Schedule(Cosine(min_factor=0.01), 0.1, Warmup("linear", 100 / 1950))
    assert space.params(inside, 1950) == {
        "schedule": "cosine",
        "base_lr": 0.1,
        "warmup": "linear",
        "warmup_steps": 100,
        "cosine.min_factor": 0.01,
    }
    for outside in (
        Schedule(Cosine(), 0.1),  # min_factor 0 lies under its domain
        Schedule(Cosine(min_factor=0.01), 5.0),
        Schedule(Cosine(min_factor=0.01), 0.1, Warmup("linear", 100.5 / 1950)),
        Schedule(Cosine(min_factor=0.01), 0.1, Warmup("linear", 100 / 1950, start=0.1)),
        Schedule(OneCycle(base_momentum=0.8), 0.1),
        Schedule(MultiStep(milestones=(0.1, 0.2)), 0.1),
        Schedule(Cyclic(mode="exp_range", gamma=1e-6), 0.1),
        Schedule(families["rex"](), 0.1),
    ):
        assert space.params(outside, 1950) is None


def test_suggest_schedule_in_an_optuna_script_of_ones_own():
    study = optuna.create_study()

    def objective(trial: optuna.Trial) -> float:
        schedule = suggest_schedule(
            trial, total_steps=500, families=["cosine", "wsd"], domains={"base_lr": 0.1}
        )
        return float(schedule.curve(500).sum())

    study.optimize(objective, n_trials=20)
    assert {trial.params["schedule"] for trial in study.trials} == {"cosine", "wsd"}
    with pytest.raises(LrsearchError, match="under the run's 5 updates"):
        suggest_schedule(study.ask(), total_steps=5, domains={"warmup_steps": 5})


def test_every_parameter_of_every_family_is_in_the_space():
    names = set(parameters())
    shared = {"base_lr", "warmup"} | {
        f"warmup_{n}" for n in ("steps", "start", "prepend", "from_zero", "adjust")
    }
    assert shared < names
    assert len(names) == 7 + sum(len(family.parameters()) for family in families.values())
