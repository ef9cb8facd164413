"""Every family against its formula, written a second time in vectorised NumPy."""

from dataclasses import asdict
from itertools import product

import numpy as np
import pytest

from lrsearch.errors import ScheduleError
from lrsearch.schedules import (
    Clock,
    Constant,
    CosineRestarts,
    Cyclic,
    MultiStep,
    Plateau,
    Schedule,
    Step,
    Warmup,
    families,
)
from lrsearch.schedules.family import completed

LENGTHS = (1, 2, 7, 100, 1000)


def boundaries_passed(x, boundaries):
    """Count the boundaries that lie at or before each x."""
    return (np.asarray(boundaries) <= x[:, None] + 1e-9).sum(axis=1)


def periods_passed(x, period):
    return boundaries_passed(x, period * np.arange(1, 1 / period + 1))


def cosine_restarts(x, cycle_size, cycle_mult, peak_decay, min_factor):
    ends = np.cumsum(cycle_size * cycle_mult ** np.arange(1 / cycle_size + 1))
    starts = np.concatenate([[0], ends])
    cycle = boundaries_passed(x, ends)
    progress = np.clip((x - starts[cycle]) / (ends - starts[:-1])[cycle], 0, 1)
    peak = np.maximum(peak_decay**cycle, min_factor)
    return peak - (peak - min_factor) * np.sin(np.pi * progress / 2) ** 2


def cyclic(x, cycle_size, min_factor, mode, gamma, **momenta):
    cycle = periods_passed(x, cycle_size)
    progress = x / cycle_size - cycle
    amplitude = {
        "triangular": np.ones_like(x),
        "triangular2": 2.0**-cycle,
        "exp_range": gamma**x,
    }[mode]
    return min_factor + (1 - min_factor) * np.interp(progress, [0, 0.5, 1], [0, 1, 0]) * amplitude


def one_cycle(x, pct_start, div_factor, final_div_factor, anneal, **momenta):
    low, end = 1 / div_factor, 1 / (div_factor * final_div_factor)
    up, down = x / pct_start, (x - pct_start) / (1 - pct_start)
    if anneal == "cos":
        up, down = np.sin(np.pi * up / 2) ** 2, np.sin(np.pi * down / 2) ** 2
    return np.where(x < pct_start, low + (1 - low) * up, 1 - (1 - end) * down)


def wsd(x, decay_fraction, cooldown):
    u = np.clip(1 - (1 - x) / decay_fraction, 0, None)
    shapes = {"linear": 1 - u, "cosine": np.cos(np.pi * u / 2) ** 2, "sqrt": 1 - u**0.5}
    return shapes[cooldown]


def noam(x, warmup_fraction):
    # The one formula in updates: without a warmup before it, T · x is the update.
    updates = x.size
    steps, rise = np.arange(1, updates + 1), max(1, warmup_fraction * updates)
    return np.minimum(steps / rise, np.sqrt(rise / steps))


FORMULAS = {
    "constant": np.ones_like,
    "step": lambda x, drop_factor, step_size: drop_factor ** periods_passed(x, step_size),
    "multistep": lambda x, drop_factor, milestones: drop_factor ** boundaries_passed(x, milestones),
    "factor": lambda x, drop_factor, step_size, floor: np.maximum(
        floor, drop_factor ** periods_passed(x, step_size)
    ),
    "exponential": lambda x, decay_rate: np.exp(-decay_rate * x),
    "polynomial": lambda x, power, min_factor: min_factor + (1 - min_factor) * (1 - x) ** power,
    "linear": lambda x, min_factor: 1 - (1 - min_factor) * x,
    "cosine": lambda x, min_factor: (
        min_factor + (1 - min_factor) * np.cos(np.pi * x / 2) ** 2  # (1 + cos a) / 2 = cos²(a / 2)
    ),
    "cosine_restarts": cosine_restarts,
    "cyclic": cyclic,
    "one_cycle": one_cycle,
    "square_root": lambda x, time_scale: 1 / np.sqrt(1 + time_scale * x),
    "noam": noam,
    "wsd": wsd,
    "rex": lambda x: (1 - x) / (1 - x / 2),
    "plateau": lambda x, **params: np.ones_like(x),  # without losses; with them: below
}

WARMUPS = {
    "linear": lambda u: u,
    "cosine": lambda u: np.sin(np.pi * u / 2) ** 2,
    "exponential": lambda u: (1 - np.exp(-5 * u)) / (1 - np.exp(-5)),
}


def corner_shapes(family):
    """Return the default shape and one for every corner of the family's search space."""
    yield family()
    parameters = family.parameters()
    for corner in product(*(parameter.domain.extremes() for parameter in parameters.values())):
        values = dict(zip(parameters, corner, strict=True))
        yield family(
            **{
                name: value
                for name, value in values.items()
                if not (rule := parameters[name].only_if) or values[rule[0]] == rule[1]
            }
        )


@pytest.mark.parametrize("total_steps", LENGTHS)
@pytest.mark.parametrize("family", families.values(), ids=families)
def test_multiple_without_warmup(family, total_steps):
    x = np.arange(total_steps) / total_steps
    for shape in corner_shapes(family):
        expected = FORMULAS[family.name](x, **asdict(shape))
        curve = Schedule(shape, 0.1).curve(total_steps)
        np.testing.assert_allclose(curve, 0.1 * expected, rtol=1e-9, atol=1e-15, err_msg=str(shape))


@pytest.mark.parametrize("total_steps", LENGTHS)
@pytest.mark.parametrize(
    "family",
    [pytest.param(each, id=each.name) for each in families.values() if not each.has_own_warmup],
)
@pytest.mark.parametrize(
    "warmup",
    [Warmup("linear", 0.05), Warmup("cosine", 0.123, start=0.2), Warmup("exponential", 0.5)],
    ids=lambda warmup: warmup.shape,
)
def test_multiple_after_a_warmup(family, total_steps, warmup):
    steps, rise = np.arange(total_steps), warmup.fraction * total_steps
    rising = steps < rise
    u = np.minimum(1, (steps[rising] + 1) / rise)
    risen = warmup.start + (1 - warmup.start) * WARMUPS[warmup.shape](u)
    x = (steps[~rising] - rise) / (total_steps - rise)
    for shape in corner_shapes(family):
        expected = np.concatenate([risen, FORMULAS[family.name](x, **asdict(shape))])
        curve = Schedule(shape, 0.1, warmup).curve(total_steps)
        np.testing.assert_allclose(curve, 0.1 * expected, rtol=1e-9, atol=1e-15, err_msg=str(shape))


@pytest.mark.parametrize("shape", WARMUPS)
@pytest.mark.parametrize("total_steps", LENGTHS)
def test_a_doubled_warmup_has_from_there_on_the_rate_of_one_twice_as_long(shape, total_steps):
    warmup = Warmup(shape, 0.1, 0.2, doubled_at=(0.05, 0.15))
    steps = np.arange(total_steps)
    length = total_steps * np.where(steps < 0.05 * total_steps, 0.1, 0.2)
    length[steps >= 0.15 * total_steps - 1e-6] = 0.4 * total_steps
    rising = steps < 0.4 * total_steps
    risen = 0.2 + 0.8 * WARMUPS[shape](np.minimum(1, (steps + 1) / length)[rising])
    falls = 1 - (steps[~rising] - 0.4 * total_steps) / (0.6 * total_steps)
    curve = Schedule(families["linear"](), 1.0, warmup).curve(total_steps)
    np.testing.assert_allclose(curve, np.concatenate([risen, falls]), rtol=1e-9, atol=1e-15)
    assert Warmup(**warmup.to_dict()) == warmup


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doubled_at": (0.2,)}, "each within a warmup"),
        ({"doubled_at": (0.06, 0.05)}, "must increase"),
        ({"fraction": 0.5, "doubled_at": (0.2,)}, "shorter than the run"),
        ({"doubled_at": "0.05"}, "must be fractions"),
        ({"doubled_at": (True,)}, "must be a number"),
        ({"prepend": True, "doubled_at": (0.05,)}, "leave prepend or adjust out"),
        ({"prepend": True, "adjust": True}, "leave prepend or adjust out"),
        ({"adjust": 1}, "true or false"),
    ],
)
def test_a_warmup_that_no_run_could_have_come_to_is_refused(changes, message):
    with pytest.raises(ScheduleError, match=message):
        Warmup(**{"shape": "linear", "fraction": 0.1, **changes})


@pytest.mark.parametrize("shape", WARMUPS)
@pytest.mark.parametrize("start", [0, 0.5])
def test_warmup_wastes_no_update_and_ends_at_the_peak(shape, start):
    curve = Schedule(Constant(), 0.1, Warmup(shape, 0.25, start)).curve(40)
    assert curve[0] > 0.1 * start
    assert (np.diff(curve[:10]) > 0).all()
    assert curve[9:] == pytest.approx(0.1, rel=1e-15)


@pytest.mark.parametrize(
    "family",
    [pytest.param(each, id=each.name) for each in families.values() if not each.has_own_warmup],
)
@pytest.mark.parametrize(("fraction", "total_steps"), [(0.1, 10_000), (0.25, 60), (0.33, 7)])
def test_a_prepended_warmup_makes_the_run_longer_and_leaves_the_family_its_own(
    family, fraction, total_steps
):
    lead = int(np.ceil(fraction * total_steps - 1e-9))  # 10,000 updates become 11,000
    for shape in corner_shapes(family):
        schedule = Schedule(shape, 0.1, Warmup("cosine", fraction, 0.2, prepend=True))
        assert schedule.run_length(total_steps) == total_steps + lead
        curve = schedule.curve(total_steps + lead)
        rise = (total_steps + lead) * fraction / (1 + fraction)
        u = np.minimum(1, np.arange(1, lead + 1) / rise)
        risen = 0.1 * (0.2 + 0.8 * WARMUPS["cosine"](u))
        np.testing.assert_allclose(curve[:lead], risen, rtol=1e-9)
        if abs(fraction * total_steps - lead) < 1e-9:  # whole updates: the very same curve
            after = Schedule(shape, 0.1).curve(total_steps)
            np.testing.assert_allclose(curve[lead:], after, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("total_steps", [60, 61, 120])
def test_a_clock_lays_the_warmup_before_the_run_and_counts_no_part_in_it(lr_every, total_steps):
    schedule = Schedule(families["linear"](), 1.0, Warmup("linear", 0.2, prepend=True))
    plain = Clock(total_steps, 10, lr_every)
    clock = plain.prepended(schedule)
    lead = clock.lead_steps
    assert (clock.main_steps, lead) == (
        total_steps,
        -(-total_steps // 5) if lr_every == "update" else total_steps // 5,
    )
    assert [clock.parts_before(step) for step in range(lead + 1)] == [0] * (lead + 1)
    ends = [step for step in range(1, clock.total_steps + 1) if clock.ends_part(step)]
    assert (len(ends), ends[-1]) == (10, clock.total_steps)
    if total_steps % 10 == 0:
        after = plain.curve(Schedule(schedule.family, 1.0))
        np.testing.assert_allclose(clock.curve(schedule)[lead:], after, rtol=1e-9)
        rates = len(set(clock.curve(schedule)[:lead].tolist()))
        assert rates == (2 if lr_every == "epoch" else lead)
    assert clock.scaled(2 * clock.total_steps).main_steps == 2 * total_steps


def test_one_cycle_momentum_mirrors_the_rate():
    # Where the rate has gone a share of its way up or down, so has the momentum, turned over.
    for shape in corner_shapes(families["one_cycle"]):
        schedule = Schedule(shape, 1.0)
        mirrored = {
            "div_factor": 1e6,
            "final_div_factor": 1,
            "pct_start": shape.pct_start,
            "anneal": shape.anneal,
        }
        height = (one_cycle(np.arange(100) / 100, **mirrored) - 1e-6) / (1 - 1e-6)
        momentum = [schedule.momentum(step, 100) for step in range(100)]
        span = shape.max_momentum - shape.base_momentum
        np.testing.assert_allclose(momentum, shape.max_momentum - span * height, rtol=1e-12)


@pytest.mark.parametrize("family", families.values(), ids=families)
def test_the_last_value_holds_past_the_end(family):
    warmup = None if family.has_own_warmup else Warmup("linear", 0.1)
    schedule = Schedule(family(), 0.1, warmup)
    losses = [1.0] * 5
    for step in (30, 31, 300):
        assert schedule.lr(step, 30, losses) == schedule.lr(29, 30, losses)
        assert schedule.momentum(step, 30) == schedule.momentum(29, 30)


def test_plateau_worked_by_hand():
    schedule = Schedule(
        Plateau(drop_factor=0.5, patience=1, threshold=0.1, cooldown=2, min_factor=0.2), 1.0
    )
    evaluations = [
        (1.00, 1.0),
        (0.95, 1.0),  # bad: not a tenth below 1
        (0.85, 1.0),  # the new best
        (float("nan"), 1.0),  # bad
        (0.80, 0.5),  # bad, the second in a row; two evaluations of rest
        (0.90, 0.5),  # rest
        (0.90, 0.5),  # rest
        (0.90, 0.5),  # bad
        (0.90, 0.25),  # bad; rest
        (0.50, 0.25),  # rest, yet the new best
        (0.60, 0.25),  # rest
        (0.60, 0.25),  # bad
        (0.46, 0.2),  # bad; no lower than min_factor
    ]
    losses, multiples = zip(*evaluations, strict=True)
    seen = [schedule.lr(0, 1, losses[: count + 1]) for count in range(len(losses))]
    assert seen == pytest.approx(multiples)


DIVISIBLE = (60, 100, 128, 1000, 2520)


def divisors(number):
    return [each for each in range(1, number + 1) if number % each == 0]


@pytest.mark.parametrize("total_steps", DIVISIBLE)
def test_drops_lie_exactly_on_whole_updates(total_steps):
    for count in divisors(total_steps):
        exact = [step * count // total_steps for step in range(total_steps)]
        shape = Step(drop_factor=0.999, step_size=1 / count)
        curve = Schedule(shape, 1.0).curve(total_steps)
        assert curve.tolist() == [0.999**drops for drops in exact], f"{count} drops"


@pytest.mark.parametrize("total_steps", DIVISIBLE)
def test_drops_lie_exactly_on_whole_updates_after_a_warmup(total_steps):
    rise = total_steps // 4
    rest = total_steps - rise
    for count in divisors(rest):
        schedule = Schedule(Step(0.999, 1 / count), 1.0, Warmup("linear", 0.25))
        drops = schedule.curve(total_steps)[rise:].tolist()
        assert drops == [0.999 ** (step * count // rest) for step in range(rest)], f"{count} drops"


@pytest.mark.parametrize("total_steps", DIVISIBLE)
def test_milestones_and_cycles_begin_on_whole_updates(total_steps):
    for count in divisors(total_steps)[1:]:
        length = total_steps // count
        begins = np.arange(0, total_steps, length)

        if count <= 100:  # the milestones are summed over in every update
            milestones = tuple(k * (1 / count) for k in range(1, count))  # off by a rounding
            stairs = Schedule(MultiStep(0.9, milestones), 1.0).curve(total_steps)
            assert (np.flatnonzero(np.diff(stairs)) + 1).tolist() == begins[1:].tolist()

        restarts = Schedule(CosineRestarts(cycle_size=1 / count), 1.0).curve(total_steps)
        assert restarts[begins] == pytest.approx(1, abs=1e-9)
        waves = Schedule(Cyclic(cycle_size=1 / count, min_factor=0), 1.0).curve(total_steps)
        assert waves[begins] == pytest.approx(0, abs=1e-9)
        assert (waves >= 0).all()


@pytest.mark.parametrize("mult", [2, 3])
def test_growing_cycles_begin_on_whole_updates(mult):
    # Cycles of 1, mult, mult², … equal parts fill the run exactly.
    cycles = [mult**n for n in range(5)]
    for part in (1, 3, 10):
        total_steps = part * sum(cycles)
        shape = CosineRestarts(cycle_size=1 / sum(cycles), cycle_mult=mult)
        curve = Schedule(shape, 1.0).curve(total_steps)
        begins = part * np.cumsum([0, *cycles[:-1]])
        assert curve[begins] == pytest.approx(1, abs=1e-9)


def test_a_plain_floor_would_miss_three_drops_in_a_hundred():
    boundaries = range(0, 100, 10)
    assert [t for t in boundaries if int(t / 100 / 0.1) != t // 10] == [30, 60, 70]
    assert [t for t in boundaries if completed(t / 100, 0.1) != t // 10] == []


def test_a_boundary_between_two_updates_waits_for_the_second():
    # Reached too early, a tolerance would be a shift.
    curve = Schedule(Step(0.5, step_size=0.25), 1.0).curve(10)
    assert curve.tolist() == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
