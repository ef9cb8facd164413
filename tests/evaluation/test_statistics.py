"""What is said of equal schedules is rarely wrong, and what is better is found."""

import numpy as np
import pytest
from scipy import stats

from lrsearch.evaluation import compare

SCHEDULES, SEEDS, REPEATS = 8, 5, 1000


def simulated(repeats, gain=0.0):
    """Yield accuracies of schedules that are all equal, but for the first that gains."""
    rng = np.random.default_rng(0)
    for _ in range(repeats):
        seeds = rng.normal(0, 0.01, SEEDS)  # a seed is easy or hard for all
        values = 0.9 + seeds + rng.normal(0, 0.003, (SCHEDULES, SEEDS))
        values[0] += gain
        yield values


def test_where_all_are_equal_a_winner_is_named_in_at_most_5_percent():
    found = [compare(values).indistinguishable.sum() for values in simulated(REPEATS)]
    wrong = np.mean([count == 1 for count in found])
    some_wrong = np.mean([count < SCHEDULES for count in found])
    assert wrong <= 0.05
    # any exclusion at all is wrong here; 5 % of 1,000 have a standard deviation of 0.7 %
    assert some_wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / REPEATS)


@pytest.mark.parametrize(("errors", "power"), [(2, 0.1), (4, 0.7), (6, 0.97)])
def test_power_where_one_is_better(errors, power):
    """`errors` standard errors of the difference of two means; one must beat all of the others."""
    gain = errors * 0.003 * np.sqrt(2 / SEEDS)
    found = [compare(values) for values in simulated(300, gain)]
    beaten = [(~result.indistinguishable).sum() for result in found if result.best == 0]
    share = np.sum(beaten) / (len(found) * (SCHEDULES - 1))
    assert share >= power
    assert np.mean([result.best == 0 for result in found]) >= 0.7


def test_one_that_collapses_on_a_seed_hides_nothing_of_the_others():
    rng = np.random.default_rng(1)
    values = 0.9 + rng.normal(0, 0.002, (5, 5))
    values[1] -= 0.02
    alone = compare(values[:4])
    values[4, 2:4] = 0.1
    found = compare(values)
    assert found.outlier.tolist() == [False, False, False, False, True]
    assert found.best == alone.best
    assert not found.indistinguishable[1]
    assert (found.difference_high - found.difference)[:4].max() < 0.02
    assert found.indistinguishable[4]  # five seeds with such a spread prove nothing
    assert not compare(values[:4]).outlier.any()


def test_two_schedules_are_a_paired_t_test():
    values = np.random.default_rng(3).normal(size=(2, 6))
    found = compare(values)
    t = stats.ttest_rel(values[found.best], values[1 - found.best]).confidence_interval(0.95)
    other = 1 - found.best
    assert found.difference_low[other] == pytest.approx(t.low)
    assert found.difference_high[other] == pytest.approx(t.high)


def test_intervals_of_the_means_are_students():
    values = np.random.default_rng(4).normal(size=(3, 5))
    found = compare(values, maximize=False)
    assert found.best == values.mean(axis=1).argmin()
    for row, low, high in zip(values, found.low, found.high, strict=True):
        interval = stats.ttest_1samp(row, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((interval.low, interval.high))
    assert (found.difference >= 0).all()


def test_one_schedule_is_the_best():
    found = compare(np.array([[0.5, 0.6]]))
    assert found.best == 0
    assert found.indistinguishable.tolist() == [True]


def test_seeds_that_are_too_few_for_an_interval_give_none():
    """Student's of two seeds is nine standard deviations wide: it would be shown as knowledge."""
    values = np.random.default_rng(0).normal(0.9, 0.01, (2, 3))
    found = compare(values)
    assert np.isinf(found.high).all()
    assert np.isinf(found.difference_high[1 - found.best])
    assert found.indistinguishable.all()
    many = compare(np.random.default_rng(0).normal(0.9, 0.01, (4, 3)))  # residuals of all count
    assert np.isinf(many.high).all()
    assert np.isfinite(many.difference_high).all()
