"""What is expected on other seeds: drawn together by as much as seeds explain, honest about it."""

import numpy as np
import pytest

from lrsearch.search import SeedModel

WITHIN, BETWEEN = 0.012, 0.01


def draw(rng, schedules, seeds):
    """Return the truth of some schedules, and runs of each: the better half has several seeds."""
    truths = rng.normal(0.8, BETWEEN, schedules)
    runs = [truth + rng.normal(0, WITHIN, seeds if i % 2 else 1) for i, truth in enumerate(truths)]
    return truths, [tuple(map(float, each)) for each in runs]


def test_what_is_stated_of_the_best_is_nearer_the_truth_than_its_mean():
    rng = np.random.default_rng(0)
    stated, means, inside = [], [], []
    for _ in range(400):
        truths, runs = draw(rng, 20, 3)
        best = max(range(20), key=lambda i: np.mean(runs[i]))
        estimate = SeedModel(runs).estimate(runs[best])
        stated.append(estimate.value - truths[best])
        means.append(np.mean(runs[best]) - truths[best])
        inside.append(abs(estimate.value - truths[best]) <= estimate.error)
    assert np.mean(means) > 0.005  # the winner's curse
    assert abs(np.mean(stated)) < 0.3 * np.mean(means)
    assert np.mean(inside) > 0.9


def test_the_spread_between_seeds_is_measured_right():
    rng = np.random.default_rng(1)
    errors = []
    for seeds in (2, 3, 6):
        runs = [tuple(map(float, rng.normal(0.8, WITHIN, seeds))) for _ in range(2000)]
        errors.append(SeedModel(runs).estimate(runs[0]).error * np.sqrt(seeds) / 1.96)
    assert errors == pytest.approx([WITHIN] * 3, rel=0.06)


def test_runs_that_collapse_leave_the_spread_of_the_others_alone():
    rng = np.random.default_rng(2)
    runs = [tuple(map(float, rng.normal(0.8, WITHIN, 4))) for _ in range(30)]
    before = SeedModel(runs).estimate(runs[0]).error
    collapsed = [(0.8, 0.1, 0.8, 0.1)] * 6
    assert SeedModel(runs + collapsed).estimate(runs[0]).error == pytest.approx(before, rel=0.3)


def test_nothing_is_stated_where_nothing_is_known():
    assert SeedModel([(0.8,), (0.9,)]).estimate((0.9,)) is None
    assert SeedModel([(0.8, 0.81), (0.9, 0.7)]).estimate((0.9, 0.7)) is None
    few = SeedModel([(0.8, 0.81, 0.79), (0.9, 0.7)])
    assert few.estimate((0.9, 0.7)).value == pytest.approx(0.8)  # too few to draw together
