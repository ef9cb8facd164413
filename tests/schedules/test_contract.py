"""One contract for every family: drawn from its own search domains, refused beyond its rules."""

import json
import math
import pickle
import re
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import ScheduleError
from lrsearch.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Factor,
    MultiStep,
    Noam,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    Warmup,
    families,
)

few = settings(max_examples=25, deadline=None)
every_family = pytest.mark.parametrize("family", families.values(), ids=families)


class DrawnTrial:
    """A trial whose suggestions hypothesis makes."""

    def __init__(self, draw):
        self.draw = draw

    def suggest_float(self, name, low, high, *, log=False):
        return self.draw(st.floats(low, high))

    def suggest_int(self, name, low, high, *, log=False):
        return self.draw(st.integers(low, high))

    def suggest_categorical(self, name, choices):
        return self.draw(st.sampled_from(choices))


@st.composite
def shapes(draw, family):
    values = {}
    for name, parameter in family.parameters().items():
        if parameter.in_use(values):
            values[name] = parameter.domain.suggest(DrawnTrial(draw), name)
    return family(**values)


warmups = st.builds(
    Warmup,
    st.sampled_from(["linear", "cosine", "exponential"]),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.just(0.0) | st.floats(1e-9, 1),
    prepend=st.booleans(),
    from_zero=st.booleans(),
)


@st.composite
def schedules(draw, family=None):
    family = family or draw(st.sampled_from(list(families.values())))
    warmup = None if family.has_own_warmup else draw(st.none() | warmups)
    return Schedule(draw(shapes(family)), draw(st.floats(1e-6, 10)), warmup)


lengths = st.integers(1, 3000)
some_losses = st.lists(st.floats(), max_size=20)


@every_family
@given(data=st.data(), total_steps=lengths, losses=some_losses)
@few
def test_every_rate_is_finite_and_a_share_of_base_lr(family, data, total_steps, losses):
    schedule = data.draw(schedules(family))
    curve = schedule.curve(total_steps, losses)
    assert curve.shape == (total_steps,)
    assert np.isfinite(curve).all()
    assert (curve >= 0).all()
    assert (curve <= schedule.base_lr * (1 + 1e-12)).all()
    doubled = replace(schedule, base_lr=2 * schedule.base_lr)
    assert (doubled.curve(total_steps, losses) == 2 * curve).all()


@every_family
@given(data=st.data())
@few
def test_json_and_pickle_give_back_an_equal_schedule(family, data):
    schedule = data.draw(schedules(family))
    written = json.dumps(schedule.to_dict(), allow_nan=False)
    for copy in (Schedule.from_dict(json.loads(written)), pickle.loads(pickle.dumps(schedule))):
        assert copy == schedule
        assert hash(copy) == hash(schedule)
        assert (copy.curve(50, [1.0] * 9) == schedule.curve(50, [1.0] * 9)).all()


def test_the_json_form():
    written = {
        "schedule": "multistep",
        "base_lr": 0.1,
        "warmup": {"shape": "linear", "fraction": 0.05, "start": 0.0},
        "params": {"drop_factor": 0.1, "milestones": [0.5, 0.75]},
    }
    schedule = Schedule(MultiStep(0.1, (0.5, 0.75)), 0.1, Warmup("linear", 0.05))
    assert schedule.to_dict() == written
    assert Schedule.from_dict(written) == schedule
    longer = Warmup("linear", 0.05, prepend=True)
    assert Schedule(Constant(), 1, longer).to_dict()["warmup"]["prepend"] is True
    assert Schedule(Constant(), 1).to_dict()["warmup"] is None
    assert Schedule.from_dict({"schedule": "cosine", "base_lr": 1}) == Schedule(Cosine(), 1)


@every_family
def test_values_are_frozen(family):
    warmup = Warmup("linear", 0.1)
    schedule = Schedule(family(), 0.1, None if family.has_own_warmup else warmup)
    for value in (schedule, schedule.family, warmup):
        for field in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, field.name, getattr(value, field.name))


@every_family
@given(
    data=st.data(),
    losses=st.lists(st.floats(0, 10) | st.just(math.nan), min_size=1, max_size=20),
    between=st.integers(1, 9),
)
@few
def test_a_curve_is_its_rates_with_the_losses_spread_evenly(family, data, losses, between):
    schedule = data.draw(schedules(family))
    main_steps = between * len(losses)
    total_steps = schedule.run_length(main_steps)
    curve = schedule.curve(total_steps, losses)
    for step, lr in enumerate(curve):
        heard = max(0, step - (total_steps - main_steps)) // between
        assert lr == schedule.lr(step, total_steps, losses[:heard])


@every_family
@given(data=st.data(), total_steps=lengths)
@few
def test_momentum_is_left_alone_except_by_one_cycle(family, data, total_steps):
    schedule = data.draw(schedules(family))
    step = data.draw(st.integers(0, total_steps - 1))
    momentum = schedule.momentum(step, total_steps)
    if family is OneCycle:
        assert schedule.family.base_momentum - 1e-12 <= momentum
        assert momentum <= schedule.family.max_momentum + 1e-12
    else:
        assert momentum is None


# Noam counts updates (its first is at (t + 1) / W); without losses plateau is constant.
compressible = [each for each in families.values() if each not in (Noam, Plateau)]


@pytest.mark.parametrize("family", compressible, ids=lambda family: family.name)
@given(data=st.data(), total_steps=st.integers(1, 300), times=st.integers(2, 10))
@few
def test_a_longer_run_is_the_same_curve_stretched(family, data, total_steps, times):
    schedule = Schedule(data.draw(shapes(family)), 1.0)
    stretched = schedule.curve(times * total_steps)[::times]
    np.testing.assert_allclose(schedule.curve(total_steps), stretched, rtol=0, atol=1e-9)


@every_family
def test_every_family_says_what_it_is(family):
    assert family.__module__ == f"lrsearch.schedules.{family.name}"
    assert not family.__doc__.startswith(f"{family.__name__}(")  # dataclass's own, for want of one
    assert len(family.use_when) > 20
    assert len(family.drawback) > 20


cosine = {"schedule": "cosine", "base_lr": 0.1}


def read(**changes):
    return lambda: Schedule.from_dict(cosine | changes)


BROKEN = [
    # parameters of families
    (lambda: Step(drop_factor=-0.1), "-0.1"),
    (lambda: Step(drop_factor=0), "got 0"),
    (lambda: Step(step_size=1.5), "1.5"),
    (lambda: Factor(floor=-1e-3), "-0.001"),
    (lambda: Cosine(min_factor=2), "got 2"),
    (lambda: Cosine(min_factor=math.nan), "nan"),
    (lambda: Cosine(min_factor="0.1"), "'0.1'"),
    (lambda: Cosine(min_factor=None), "None"),
    (lambda: Cosine(min_factor=True), "True"),
    (lambda: Polynomial(power=math.inf), "inf"),
    (lambda: Polynomial(power=10**400), "1000"),
    (lambda: MultiStep(milestones=()), "[]"),
    (lambda: MultiStep(milestones=(0.5, 0.2)), "[0.5, 0.2]"),
    (lambda: MultiStep(milestones=(0.5, 0.5)), "[0.5, 0.5]"),
    (lambda: MultiStep(milestones=(0.5, 1)), "(0.5, 1)"),
    (lambda: MultiStep(milestones=(0, 0.5)), "(0, 0.5)"),
    (lambda: MultiStep(milestones=0.5), "0.5"),
    (lambda: CosineRestarts(cycle_size=0), "got 0"),
    (lambda: CosineRestarts(cycle_mult=0.9), "0.9"),
    (lambda: Cyclic(cycle_size=0.0), "0.0"),
    (lambda: Cyclic(mode="triangle"), "'triangle'"),
    (lambda: Cyclic(mode="triangular", gamma=0.5), "0.5"),
    (lambda: OneCycle(pct_start=0), "got 0"),
    (lambda: OneCycle(pct_start=1), "got 1"),
    (lambda: OneCycle(div_factor=0.5), "0.5"),
    (lambda: OneCycle(base_momentum=0.9, max_momentum=0.8), "0.9 > 0.8"),
    (lambda: OneCycle(max_momentum=1.0), "1.0"),
    (lambda: OneCycle(pct_start=0.6, three_phase=True), "0.6; lower it"),
    (lambda: OneCycle(three_phase=1), "true or false, but got 1"),
    (lambda: Cyclic(base_momentum=0.5), "used only with cycle_momentum = True"),
    (lambda: Cyclic(cycle_momentum=True, base_momentum=0.95), "0.95 > 0.9"),
    (lambda: Plateau(metric="val loss"), "a name, but got 'val loss'"),
    (lambda: Plateau(metric=3), "got 3"),
    (lambda: Plateau(patience=1.5), "1.5"),
    (lambda: Plateau(patience=1.0), "1.0"),
    (lambda: Plateau(patience=-1), "-1"),
    (lambda: Plateau(patience=True), "True"),
    # warmup
    *(
        (lambda fraction=fraction: Warmup("linear", fraction), repr(fraction))
        for fraction in (0, 1, 1.5, -0.1, math.nan, "x", True, None, 10**400)
    ),
    (lambda: Warmup("linear", 0.1, start=-0.5), "-0.5"),
    (lambda: Warmup("linear", 0.1, start=1.5), "1.5"),
    (lambda: Warmup("linear", 0.1, start="0"), "'0'"),
    (lambda: Warmup("linear", 0.1, prepend=1), "got 1"),
    (lambda: Warmup("linear", 0.1, from_zero="no"), "'no'"),
    (lambda: Warmup("linaer", 0.1), "'linaer'; did you mean 'linear'?"),
    (lambda: Warmup(["linear"], 0.1), "['linear']"),
    *(
        (lambda family=family: Schedule(family(), 0.1, Warmup("linear", 0.1)), family.name)
        for family in (OneCycle, Noam, Cyclic)
    ),
    # schedules
    *(
        (lambda base_lr=base_lr: Schedule(Constant(), base_lr), repr(base_lr))
        for base_lr in (0, -0.1, math.nan, math.inf, True, "0.1", None, 10**400)
    ),
    (lambda: Schedule("cosine", 0.1), "'cosine'"),
    (lambda: Schedule(Cosine, 0.1), "Cosine"),
    (lambda: Schedule(Cosine(), 0.1, 0.05), "0.05"),
    (lambda: Schedule(Cosine(), 0.1).lr(0, 0), "total_steps=0"),
    (lambda: Schedule(Cosine(), 0.1).lr(-1, 10), "step=-1"),
    (lambda: Schedule(Cosine(), 0.1).momentum(-1, 10), "step=-1"),
    (lambda: Schedule(Cosine(), 0.1).curve(0), "total_steps=0"),
    # the JSON form
    (lambda: Schedule.from_dict([1]), "[1]"),
    (lambda: Schedule.from_dict(None), "None"),
    (lambda: Schedule.from_dict({"schedule": "cosine"}), "'base_lr'"),
    (lambda: Schedule.from_dict({"base_lr": 0.1}), "'schedule'"),
    (read(base_lr="0.1"), "'0.1'"),
    (read(schedule="cosin"), "'cosin'; did you mean 'cosine'?"),
    (read(schedule=["cosine"]), "['cosine']"),
    (read(schedule=5), "5"),
    (read(warm_up=None), "'warm_up'; did you mean 'warmup'?"),
    (read(params=[0.1]), "[0.1]"),
    (read(params=None), "None"),
    (read(params={"min_facto": 0.1}), "'min_facto'; did you mean 'min_factor'?"),
    (read(params={"min_factor": [0.1]}), "[0.1]"),
    (read(warmup=0.05), "0.05"),
    (read(warmup=False), "False"),
    (read(warmup={}), "fraction"),
    (read(warmup={"shape": "linear"}), "fraction"),
    (read(warmup={"shape": {}, "fraction": 0.1}), "{}"),
    (read(warmup={"shape": "linear", "fraction": 0.1, "end": 1}), "'end'"),
]


@pytest.mark.parametrize(("build", "said"), BROKEN)
def test_a_broken_rule_is_a_schedule_error_that_names_the_value(build, said):
    with pytest.raises(ScheduleError, match=re.escape(said)):
        build()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly_schedules(draw):
    """The JSON form of a schedule with one entry changed, added or taken away."""
    written = draw(schedules()).to_dict()
    tables = [table for table in (written, written["warmup"], written["params"]) if table]
    table = draw(st.sampled_from(tables))
    key = draw(st.sampled_from([*table, "", "floor"]))
    if draw(st.booleans()):
        table[key] = draw(json_values)
    else:
        table.pop(key, None)
    return written


@given(written=json_values | nearly_schedules())
@settings(max_examples=800, deadline=None)
def test_from_dict_gives_a_schedule_or_a_schedule_error(written):
    try:
        schedule = Schedule.from_dict(written)
    except ScheduleError:
        return
    assert Schedule.from_dict(schedule.to_dict()) == schedule
    assert 0 <= schedule.lr(0, 10) <= schedule.base_lr * (1 + 1e-12)
