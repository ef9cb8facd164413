"""Search domains: `params` is the inverse of `suggest`, and a study file's mistakes are told."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from lrsearch.errors import DomainError
from lrsearch.schedules.domains import Choice, Domain, Fixed, Float, Increasing, Int, read_domain


@st.composite
def floats(draw):
    low, high = sorted(draw(st.tuples(*[st.floats(1e-6, 1e6)] * 2)))
    domain = Float(low, high, log=draw(st.booleans()))
    return domain, {"p": draw(st.floats(low, high))}


@st.composite
def ints(draw):
    low, high = sorted(draw(st.tuples(*[st.integers(1, 10**6)] * 2)))
    domain = Int(low, high, log=draw(st.booleans()))
    return domain, {"p": draw(st.integers(low, high))}


@st.composite
def choices(draw):
    scalars = st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans()
    domain = Choice(tuple(draw(st.lists(scalars, min_size=1, unique=True))))
    return domain, {"p": draw(st.sampled_from(domain.choices))}


@st.composite
def increasings(draw):
    low, high = sorted(draw(st.tuples(*[st.floats(0.05, 0.9)] * 2)))
    domain = Increasing(low, high, max_count=draw(st.integers(1, 4)))
    shares = draw(st.lists(st.floats(low, high), min_size=1, max_size=domain.max_count))
    return domain, {
        "p.count": len(shares),
        **{f"p.{index}": share for index, share in enumerate(shares, 1)},
    }


fixed = st.builds(Fixed, st.none() | st.text() | st.floats(allow_nan=False) | st.integers())


@settings(deadline=None)
@given(case=floats() | ints() | choices() | increasings() | fixed.map(lambda domain: (domain, {})))
def test_params_is_the_inverse_of_suggest(case):
    domain, params = case
    value = domain.suggest(FixedTrial(params), "p")
    back = domain.params("p", value)
    if isinstance(domain, Increasing):  # computed there and back again
        assert back == pytest.approx(params, abs=1e-9)
        assert domain.suggest(FixedTrial(back), "p") == pytest.approx(value, abs=1e-9)
        assert list(value) == sorted(set(value))
        assert 0 < value[0] <= value[-1] < 1
    else:
        assert back == params


@settings(deadline=None)
@given(case=floats() | ints() | choices() | increasings())
def test_extremes_lie_inside(case):
    domain, _ = case
    for value in domain.extremes():
        params = domain.params("p", value)
        assert params is not None
        assert domain.suggest(FixedTrial(params), "p") == pytest.approx(value)


@pytest.mark.parametrize(
    ("domain", "outside"),
    [
        (Float(0.1, 1), 0.0999),
        (Float(0.1, 1), 1.0001),
        (Float(0.1, 1), math.nan),
        (Int(1, 5), 0),
        (Int(1, 5), 6),
        (Int(1, 5), 2.5),
        (Int(1, 5), math.nan),
        (Choice(("cos", "linear")), "sin"),
        (Fixed(0.9), 0.8),
        (Increasing(0.2, 0.8, 2), ()),
        (Increasing(0.2, 0.8, 2), (0.2, 0.4, 0.6)),
        (Increasing(0.2, 0.8, 2), (0.1,)),
        (Increasing(0.2, 0.8, 2), (0.5, 0.55)),
        (Increasing(0.2, 0.8, 2), (0.5, 0.95)),
        (Increasing(0.2, 0.8, 2), (0.5, 0.4)),
    ],
)
def test_a_value_outside_has_no_params(domain, outside):
    assert domain.params("p", outside) is None


def test_increasing_fractions_are_shares_of_what_is_left():
    trial = FixedTrial({"m.count": 2, "m.1": 0.5, "m.2": 0.2})
    assert Increasing(0.2, 0.8, 3).suggest(trial, "m") == (0.5, 0.6)


@pytest.mark.parametrize(
    ("written", "like", "domain"),
    [
        (0.9, None, Fixed(0.9)),
        ("cos", Choice(("cos", "linear")), Fixed("cos")),
        ([0.3, 0.6], Increasing(0.2, 0.8, 3), Fixed((0.3, 0.6))),
        ({"choices": [1, 2, 4]}, Int(0, 3), Choice((1, 2, 4))),
        ({"low": 1, "high": 5}, None, Int(1, 5)),
        ({"low": 1, "high": 5.0}, None, Float(1, 5.0)),
        ({"low": 1, "high": 5}, Fixed(25.0), Float(1, 5)),
        ({"low": 0.01}, Float(1e-3, 0.3, log=True), Float(0.01, 0.3, log=True)),
        ({"log": False}, Float(1e-3, 0.3, log=True), Float(1e-3, 0.3)),
        ({"high": 8}, Int(0, 3), Int(0, 8)),
        ({"max_count": 5}, Increasing(0.2, 0.8, 3), Increasing(0.2, 0.8, 5)),
    ],
)
def test_a_domain_as_a_study_file_writes_it(written, like, domain):
    read = read_domain(written, like)
    assert read == domain
    assert type(read) is type(domain)


@pytest.mark.parametrize(
    ("written", "like", "said"),
    [
        ({"low": 0.1}, None, "high is missing"),
        ({"high": 0.1}, Choice(("cos",)), "low is missing"),
        ({"low": 2, "high": 1}, None, "low=2, high=1"),
        ({"low": 0.0, "high": math.inf}, None, "high=inf"),
        ({"low": math.nan, "high": 1.0}, None, "low=nan"),
        ({"low": 1, "high": 10**400}, None, "high=1000"),
        ({"low": 0.0, "high": 1.0, "log": True}, None, "low > 0"),
        ({"low": "0", "high": 1}, None, "low must be of type int or float, but got '0'"),
        ({"low": 0.5}, Int(0, 3), "low must be of type int, but got 0.5"),
        ({"low": True}, Int(0, 3), "but got True"),
        ({"log": 1}, Float(1, 2), "log must be of type bool, but got 1"),
        ({"lwo": 1}, Float(1, 2), "'lwo'; did you mean 'low'?"),
        ({"max_count": 2}, Float(1, 2), "'max_count'"),
        ({"max_count": 0}, Increasing(0.2, 0.8, 3), "max_count must be at least 1, but got 0"),
        ({"high": 1.0}, Increasing(0.2, 0.8, 3), "1.0"),
        ({"choices": []}, None, "[]"),
        ({"choices": ["cos", "cos"]}, None, "['cos', 'cos']"),
        ({"choices": [[0.5], [0.25]]}, None, "[[0.5], [0.25]]"),
        ({"choices": "cos"}, None, "'cos'"),
        ({"choices": [1, 2], "log": True}, None, "choices stand alone"),
    ],
)
def test_a_mistake_in_a_domain_is_told(written, like, said):
    with pytest.raises(DomainError) as error:
        read_domain(written, like)
    assert said in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["low", "high", "log", "max_count", "choices"]) | st.text(), inner
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    written=json_values,
    like=st.sampled_from(
        [None, Float(1, 2), Int(1, 2), Choice(("cos",)), Increasing(0.2, 0.8, 3), Fixed(0.9)]
    ),
)
def test_reading_gives_a_domain_or_a_domain_error(written, like):
    with suppress(DomainError):
        assert isinstance(read_domain(written, like), Domain)
