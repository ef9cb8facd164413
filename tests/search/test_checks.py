"""Checks stop where they are seen not to collapse, and nowhere else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.search import Shown, holds

VALUES = st.floats(-10, 10)


@st.composite
def trials(draw):
    """Full runs of a trial: all have the same rates."""
    length = draw(st.integers(2, 12))
    rates = draw(st.lists(st.floats(0.001, 1), min_size=length, max_size=length))
    values = draw(
        st.lists(st.lists(VALUES, min_size=length, max_size=length), min_size=1, max_size=4)
    )
    return [[Shown(*shown) for shown in zip(run, rates, strict=True)] for run in values]


@given(trials(), st.data())
def test_a_run_like_another_of_the_trial_holds_from_a_third_on_past_the_highest_rate(others, data):
    like = data.draw(st.sampled_from(others))
    rates = [shown.lr for shown in like]
    for epoch, shown in enumerate(like, 1):
        past = epoch >= 2 and epoch >= len(like) / 3 and epoch > rates.index(max(rates)) + 1
        assert holds(epoch, shown.value, others, maximize=True) == past


@given(trials(), VALUES, st.data())
def test_which_way_is_better_makes_no_difference(others, value, data):
    epoch = data.draw(st.integers(1, len(others[0])))
    turned = [[Shown(-shown.value, shown.lr) for shown in run] for run in others]
    held = holds(epoch, value, others, maximize=True)
    assert held == holds(epoch, -value, turned, maximize=False)


@pytest.mark.parametrize(
    ("value", "held"), [(0.8, True), (0.55, True), (0.53, False), (0.1, False), (math.nan, False)]
)
def test_one_that_lies_further_behind_than_others_still_rose_does_not_hold(value, held):
    values = (0.5, 0.70, 0.75, 0.80), (0.4, 0.66, 0.75, 0.78)
    others = [[Shown(each, 0.1) for each in run] for run in values]
    assert holds(2, value, others, maximize=True) == held


def test_without_another_run_nothing_is_known():
    assert not holds(4, 0.5, [], maximize=True)
