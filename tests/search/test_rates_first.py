"""The first trials look for the rate; what they leave open, and all later ones, a sampler says."""

import math

import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler

from lrsearch import RatesFirstSampler, SearchSpace, StudySpec

HALVING = [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]


def spec_of(seed=0, given=(), **sampler):
    return StudySpec.from_dict(
        {
            "study": {"name": "s", "trials": 60, "seed": seed},
            "task": {"run": "my:task"},
            "space": {"base_lr": {"low": 1e-3, "high": 1.0, "log": True}},
            "schedules": list(given),
            **({"sampler": sampler} if sampler else {}),
        }
    )


def suggested(spec, count):
    """Return the schedules of the first trials, and their study; all are pruned alike."""
    study = optuna.create_study()
    schedules = []
    for number in range(count):
        study.sampler = spec.build_sampler(number)
        trial = study.ask()
        schedules.append(spec.search_space().suggest(trial, 1000))
        study.tell(trial, float(number))
    return schedules, study


def share_of(schedule):
    """Return where in its domain the rate of a schedule lies, from 0 to 1."""
    return math.log10(schedule.base_lr / 1e-3) / 3


def is_plain(schedule):
    return (schedule.family.name, schedule.warmup) == ("linear", None) and (
        schedule.family.min_factor == 1e-3
    )


def test_of_a_study_the_first_seven_are_plain_at_rates_from_all_over_the_domain():
    schedules, study = suggested(spec_of(rates_first=7), 10)
    assert [is_plain(schedule) for schedule in schedules[:7]] == [True] * 7
    shares = [share_of(schedule) for schedule in schedules[:7]]
    moved = shares[0] - HALVING[0]
    assert shares == pytest.approx([share + moved for share in HALVING])
    later, _ = suggested(spec_of(), 10)
    rates = [schedule.base_lr for schedule in schedules]
    assert not {schedule.base_lr for schedule in later} & set(rates[:7])
    # they are trials like any other, of which a sampler learns
    assert set(study.trials[0].params) == {"schedule", "base_lr", "warmup", "linear.min_factor"}


def test_seeds_move_all_rates_by_half_their_distance_at_most():
    firsts = [share_of(suggested(spec_of(seed, rates_first=7), 1)[0][0]) for seed in range(200)]
    moved = [8 * (share - 1 / 2) for share in firsts]
    assert -0.5 <= min(moved) < -0.4
    assert 0.4 < max(moved) <= 0.5
    assert sum(moved) / 200 == pytest.approx(0, abs=0.1)


def test_there_are_as_many_as_are_asked_for_after_those_that_are_given():
    learned = spec_of(rates_first=7).build_sampler(
        0, earlier=[optuna.trial.create_trial(value=1.0)]
    )
    assert learned.rates == 0  # an earlier study has found the rate
    spec = spec_of(given=[{"schedule": "step", "base_lr": 0.5}], rates_first=2)
    schedules, _ = suggested(spec, 4)  # number 0 is given: what is suggested for it is not used
    assert [is_plain(schedule) for schedule in schedules] == [False, True, True, False]
    middle, quarter = (share_of(schedule) for schedule in schedules[1:3])
    assert middle - quarter == pytest.approx(1 / 4)


def test_where_a_trial_is_completed_elsewhere_it_is_the_same():
    one, other = (suggested(spec_of(rates_first=7), 9)[0] for _ in range(2))
    assert one == other


@pytest.mark.parametrize("sampler", [None, RandomSampler(seed=0), TPESampler(multivariate=True)])
def test_in_any_script_with_any_sampler_and_any_space(sampler):
    space = SearchSpace.read(
        ["one_cycle", "step"], {"base_lr": {"low": 0.1, "high": 0.5, "log": False}}
    )
    study = optuna.create_study(sampler=RatesFirstSampler(sampler, rates=3))
    trials = [study.ask() for _ in range(4)]
    schedules = [space.suggest(trial, 1000) for trial in trials]
    for trial in trials:
        study.tell(trial, 1.0)
    assert [schedule.family.name for schedule in schedules[:3]] == ["one_cycle"] * 3
    assert [schedule.base_lr for schedule in schedules[:3]] == pytest.approx([0.3, 0.2, 0.4])
    of_cosine = optuna.create_study(sampler=RatesFirstSampler(sampler)).ask()
    assert SearchSpace(("step", "cosine")).suggest(of_cosine, 1000).family.name == "cosine"
    rest = {schedule.family.pct_start for schedule in schedules[:3]}
    assert len(rest) == 3  # what a plain schedule leaves open is sampled
