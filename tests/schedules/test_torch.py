"""Torch's own schedulers as oracles, and `ScheduleLR` as a torch scheduler."""

import io
import json
import math

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim import lr_scheduler as torchs

from lrsearch.errors import ScheduleError
from lrsearch.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    Warmup,
    families,
)

BASE_LR = 0.3
CLOSED_FORM, RECURSIVE = 1e-12 * BASE_LR, 1e-10 * BASE_LR


def sgd(lr=BASE_LR, momentum=0.9):
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=momentum)


def settings(optimizer):
    """Return rate and momentum of every group, in plain floats."""
    return [
        (float(group["lr"]), group["betas"][0] if "betas" in group else group["momentum"])
        for group in optimizer.param_groups
    ]


def follow(optimizer, scheduler, updates, losses=None):
    """Return the settings of each update of a run in the ordinary order.

    Where `losses` has a number, the scheduler hears it after that update.
    """
    trace = []
    for update in range(updates):
        trace.append(settings(optimizer))
        optimizer.step()
        heard = losses[update] if losses else None
        scheduler.step() if heard is None else scheduler.step(heard)
    return trace


def rates(optimizer, scheduler, updates, losses=None):
    return [trace[0][0] for trace in follow(optimizer, scheduler, updates, losses)]


ORACLES = [
    (Step(0.2, 1 / 3), lambda opt, n: torchs.StepLR(opt, n // 3, 0.2), CLOSED_FORM),
    (Step(0.5, 0.1), lambda opt, n: torchs.StepLR(opt, n // 10, 0.5), CLOSED_FORM),
    (
        MultiStep(0.3, (0.3, 0.6, 0.7)),
        lambda opt, n: torchs.MultiStepLR(opt, [3 * n // 10, 6 * n // 10, 7 * n // 10], 0.3),
        CLOSED_FORM,
    ),
    (
        Exponential(4.0),
        lambda opt, n: torchs.ExponentialLR(opt, math.exp(-4 / n)),
        RECURSIVE,
    ),
    (Polynomial(2.5), lambda opt, n: torchs.PolynomialLR(opt, n, power=2.5), RECURSIVE),
    (Linear(0.05), lambda opt, n: torchs.LinearLR(opt, 1, 0.05, total_iters=n), RECURSIVE),
    (
        Cosine(0.1),
        lambda opt, n: torchs.CosineAnnealingLR(opt, n, 0.1 * BASE_LR),
        RECURSIVE,
    ),
    (Cosine(), lambda opt, n: torchs.CosineAnnealingLR(opt, n), RECURSIVE),
    (
        CosineRestarts(0.3, 1.0, min_factor=0.1),
        lambda opt, n: torchs.CosineAnnealingWarmRestarts(opt, 3 * n // 10, 1, 0.1 * BASE_LR),
        CLOSED_FORM,
    ),
    (
        CosineRestarts(0.1, 2.0),
        lambda opt, n: torchs.CosineAnnealingWarmRestarts(opt, n // 10, 2),
        CLOSED_FORM,
    ),
    *(
        (
            Cyclic(0.2, 0.1, mode, **({"gamma": 0.05} if mode == "exp_range" else {})),
            lambda opt, n, mode=mode: torchs.CyclicLR(
                opt,
                0.1 * BASE_LR,
                BASE_LR,
                step_size_up=n // 10,
                mode=mode,
                gamma=0.05 ** (1 / n),
                cycle_momentum=False,
            ),
            CLOSED_FORM,
        )
        for mode in ("triangular", "triangular2", "exp_range")
    ),
    # cycles longer than the run
    (
        Cyclic(1.6, 0.1),
        lambda opt, n: torchs.CyclicLR(
            opt, 0.1 * BASE_LR, BASE_LR, step_size_up=8 * n // 10, cycle_momentum=False
        ),
        CLOSED_FORM,
    ),
    (
        CosineRestarts(2.0, 3.0, min_factor=0.1),
        lambda opt, n: torchs.CosineAnnealingWarmRestarts(opt, 2 * n, 3, 0.1 * BASE_LR),
        CLOSED_FORM,
    ),
]


@pytest.mark.parametrize("total_steps", [30, 120, 630])
@pytest.mark.parametrize(
    ("shape", "oracle", "tolerance"), ORACLES, ids=[str(oracle[0]) for oracle in ORACLES]
)
def test_equals_torchs_scheduler(shape, oracle, tolerance, total_steps):
    schedule = Schedule(shape, BASE_LR)
    optimizer = sgd()
    expected = rates(optimizer, oracle(optimizer, total_steps), total_steps)
    np.testing.assert_allclose(schedule.curve(total_steps), expected, rtol=0, atol=tolerance)

    optimizer = sgd(lr=77.0)
    followed = rates(optimizer, schedule.torch(optimizer, total_steps), total_steps)
    assert followed == schedule.curve(total_steps).tolist()


@pytest.mark.parametrize(("start", "total_steps"), [(0.1, 100), (1e-3, 640)])
def test_a_warmup_from_zero_equals_torchs_linear_one_before_another(start, total_steps):
    rise = total_steps // 5
    shape = Warmup("linear", 0.2, start, from_zero=True)
    for family, after in (
        (Cosine(0.1), lambda opt: torchs.CosineAnnealingLR(opt, total_steps - rise, 0.1 * BASE_LR)),
        (Step(0.5, 0.25), lambda opt: torchs.StepLR(opt, (total_steps - rise) // 4, 0.5)),
    ):
        optimizer = sgd()
        before = torchs.LinearLR(optimizer, start, total_iters=rise)
        theirs = torchs.SequentialLR(optimizer, [before, after(optimizer)], [rise])
        expected = rates(optimizer, theirs, total_steps)
        curve = Schedule(family, BASE_LR, shape).curve(total_steps)
        np.testing.assert_allclose(curve, expected, rtol=0, atol=RECURSIVE)


@pytest.mark.parametrize("optimizer_class", [SGD, Adam])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(("total_steps", "pct_start"), [(10, 0.1), (120, 0.25), (100, 0.237)])
def test_one_cycle_equals_torchs(optimizer_class, anneal, three_phase, total_steps, pct_start):
    shape = OneCycle(pct_start, 20.0, 1e3, anneal, 0.8, 0.97, three_phase)

    def optimizer():
        extra = {"momentum": 0.9} if optimizer_class is SGD else {}
        return optimizer_class([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR, **extra)

    theirs = optimizer()
    oracle = torchs.OneCycleLR(
        theirs,
        BASE_LR,
        total_steps=total_steps + 1,
        pct_start=(pct_start * total_steps + 1) / (total_steps + 1),
        anneal_strategy=anneal,
        three_phase=three_phase,
        base_momentum=0.8,
        max_momentum=0.97,
        div_factor=20.0,
        final_div_factor=1e3,
    )
    ours = optimizer()
    np.testing.assert_allclose(
        follow(ours, Schedule(shape, BASE_LR).torch(ours, total_steps), total_steps),
        follow(theirs, oracle, total_steps),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("optimizer_class", [SGD, Adam])
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("cycle_size", [0.2, 1.6])
def test_the_momentum_of_cycles_equals_torchs(optimizer_class, mode, cycle_size):
    own = {"gamma": 0.05} if mode == "exp_range" else {}
    momenta = {"cycle_momentum": True, "base_momentum": 0.7, "max_momentum": 0.93}
    schedule = Schedule(Cyclic(cycle_size, 0.1, mode, **own, **momenta), BASE_LR)
    extra = {"momentum": 0.9} if optimizer_class is SGD else {}
    ours, theirs = (
        optimizer_class([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR, **extra) for _ in range(2)
    )
    oracle = torchs.CyclicLR(
        theirs, 0.1 * BASE_LR, BASE_LR, step_size_up=round(cycle_size * 50), mode=mode,
        gamma=0.05 ** (1 / 100), **momenta,
    )  # fmt: skip
    expected = follow(theirs, oracle, 100)
    assert len({momentum for ((_, momentum),) in expected}) > 5
    np.testing.assert_allclose(
        follow(ours, schedule.torch(ours, 100), 100), expected, rtol=0, atol=1e-12
    )


def noisy_losses(seed, count):
    """Return losses that fall to a plateau with noise, repeats and NaN."""
    rng = np.random.default_rng(seed)
    losses = (0.3 + np.exp(-np.arange(count) / 10)) * (1 + 0.05 * rng.normal(size=count))
    losses[rng.random(count) < 0.1] = np.nan
    repeated = rng.random(count) < 0.2
    losses[repeated] = np.roll(losses, 1)[repeated]
    return losses.tolist()


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize("threshold", [0.0, 0.05])
@pytest.mark.parametrize("cooldown", [0, 3])
@pytest.mark.parametrize("min_factor", [0.0, 0.02])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_equals_torchs(patience, threshold, cooldown, min_factor, mode):
    watched = ("val_accuracy", True) if mode == "max" else ()
    schedule = Schedule(Plateau(0.6, patience, threshold, cooldown, min_factor, *watched), BASE_LR)
    for seed in range(3):
        losses = noisy_losses(seed, 80)
        if mode == "max":  # what rises to a plateau
            losses = [1.5 - loss for loss in losses]
        theirs = sgd()
        oracle = torchs.ReduceLROnPlateau(
            theirs,
            mode=mode,
            factor=0.6,
            patience=patience,
            threshold=threshold,
            cooldown=cooldown,
            min_lr=min_factor * BASE_LR,
            eps=0,
        )
        expected = rates(theirs, oracle, len(losses), losses)
        assert len(set(expected)) > 3  # the comparison below has drops to see
        seen = [schedule.lr(0, 1, losses[:count]) for count in range(len(losses))]
        np.testing.assert_allclose(seen, expected, rtol=0, atol=CLOSED_FORM)

        ours = sgd()
        assert rates(ours, schedule.torch(ours, 80), len(losses), losses) == seen


# Where a family is meant to differ from torch: one test each. What torch does is checked too, so
# that a change there is seen.


def test_past_the_end_torchs_cosine_rises_and_ours_holds():
    theirs, ours = sgd(), sgd()
    rising = rates(theirs, torchs.CosineAnnealingLR(theirs, 20), 30)
    held = rates(ours, Schedule(Cosine(), BASE_LR).torch(ours, 20), 30)
    assert rising[29] > rising[19] > 0
    assert held[19:] == [held[19]] * 11


def test_torchs_one_cycle_peaks_one_update_early():
    theirs = sgd()
    oracle = torchs.OneCycleLR(theirs, BASE_LR, total_steps=100, pct_start=0.3)
    assert np.argmax(rates(theirs, oracle, 99)) == 29
    assert np.argmax(Schedule(OneCycle(0.3), BASE_LR).curve(100)) == 30


@pytest.mark.parametrize("pct_start", [0.1, 0.33, 0.5])
def test_between_two_updates_the_one_cycle_peak_is_passed_unseen(pct_start):
    curve = Schedule(OneCycle(pct_start), BASE_LR).curve(21)
    assert 0.9 * BASE_LR < max(curve) < BASE_LR
    assert abs(np.argmax(curve) - pct_start * 21) < 1


def test_torchs_one_cycle_divides_by_zero_where_the_rise_is_one_update():
    with pytest.raises(ZeroDivisionError):
        torchs.OneCycleLR(sgd(), BASE_LR, total_steps=10, pct_start=0.1)
    assert Schedule(OneCycle(0.1), BASE_LR).lr(1, 10) == BASE_LR


def test_past_the_end_torchs_one_cycle_raises_and_ours_holds():
    theirs, ours = sgd(), sgd()
    with pytest.raises(ValueError, match="Tried to step"):
        follow(theirs, torchs.OneCycleLR(theirs, BASE_LR, total_steps=10), 11)
    held = follow(ours, Schedule(OneCycle(), BASE_LR).torch(ours, 10), 15)
    assert held[10:] == [held[9]] * 5


def test_a_negative_best_loss_blinds_torchs_plateau_and_not_ours():
    worsening = [-1.0, -0.99, -0.98, -0.97]
    theirs, ours = sgd(), sgd()
    oracle = torchs.ReduceLROnPlateau(theirs, patience=0, threshold=0.1)
    schedule = Schedule(Plateau(patience=0, threshold=0.1), BASE_LR)
    assert set(rates(theirs, oracle, 4, worsening)) == {BASE_LR}
    assert rates(ours, schedule.torch(ours, 4), 4, worsening)[-1] < BASE_LR


def test_torchs_plateau_ignores_drops_below_1e_8_and_ours_does_not():
    theirs, ours = sgd(lr=1e-8), sgd(lr=1e-8)
    oracle = torchs.ReduceLROnPlateau(theirs, patience=0)
    schedule = Schedule(Plateau(patience=0), 1e-8)
    assert rates(theirs, oracle, 3, [1.0] * 3) == [1e-8] * 3
    assert rates(ours, schedule.torch(ours, 3), 3, [1.0] * 3) == pytest.approx([1e-8, 1e-8, 1e-9])


def test_torch_takes_milestones_out_of_order_and_multistep_refuses_them():
    torchs.MultiStepLR(sgd(), [5, 2])
    with pytest.raises(ScheduleError, match=r"increasing .* \[0\.5, 0\.2\]; sort them"):
        MultiStep(milestones=(0.5, 0.2))


def test_torchs_step_goes_negative_and_ours_refuses_to():
    optimizer = sgd()
    assert min(rates(optimizer, torchs.StepLR(optimizer, 2, gamma=-0.5), 4)) < 0
    with pytest.raises(ScheduleError, match=r"drop_factor must be 0 < value ≤ 1, but got -0\.5"):
        Step(drop_factor=-0.5)


def test_torchs_cosine_rises_to_a_floor_above_the_peak_and_ours_refuses_to():
    optimizer = sgd()
    assert max(rates(optimizer, torchs.CosineAnnealingLR(optimizer, 10, 2 * BASE_LR), 10)) > BASE_LR
    with pytest.raises(ScheduleError, match=r"min_factor must be 0 ≤ value ≤ 1, but got 2"):
        Cosine(min_factor=2.0)


def test_torchs_restarts_grow_by_whole_factors_and_ours_by_any():
    with pytest.raises(ValueError, match="T_mult"):
        torchs.CosineAnnealingWarmRestarts(sgd(), 4, T_mult=1.5)
    curve = Schedule(CosineRestarts(0.2, 1.5, peak_decay=0.5), BASE_LR).curve(20)
    risen = np.flatnonzero(np.diff(curve) > 0) + 1
    assert risen.tolist() == [4, 10, 19]  # cycles of 4, 6 and 9 updates
    assert curve[risen] == pytest.approx([BASE_LR / 2, BASE_LR / 4, BASE_LR / 8])


# ScheduleLR


def two_groups(slow_lr=0.2):
    """Return an optimizer whose second group has a lower rate, and no momentum."""
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    slow = {"params": [second], "lr": slow_lr, "momentum": 0.0}
    return SGD([{"params": [first]}, slow], lr=2.0, momentum=0.9)


@pytest.mark.parametrize("family", families.values(), ids=families)
def test_first_group_gets_the_rate_and_the_others_keep_their_ratio(family):
    schedule = Schedule(family(), BASE_LR)
    optimizer = two_groups()
    trace = follow(optimizer, schedule.torch(optimizer, 20), 20)
    for step, ((lr, momentum), (slow_lr, none)) in enumerate(trace):
        assert lr == schedule.lr(step, 20)
        assert slow_lr == pytest.approx(lr / 10, rel=1e-15)
        assert momentum == (schedule.momentum(step, 20) or 0.9)
        assert none == 0.0


def test_the_ratios_are_those_from_before_any_schedule():
    optimizer = two_groups()
    rates(optimizer, torchs.LinearLR(optimizer, 1, 0, total_iters=3), 3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.0}
    Schedule(Constant(), BASE_LR).torch(optimizer, 10)
    assert [lr for lr, _ in settings(optimizer)] == pytest.approx([BASE_LR, BASE_LR / 10])


def test_momentum_that_was_not_used_is_left_alone():
    optimizer = Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0.0, 0.9))
    trace = follow(optimizer, Schedule(OneCycle(), BASE_LR).torch(optimizer, 10), 10)
    assert {momentum for [(_, momentum)] in trace} == {0.0}
    assert optimizer.param_groups[0]["betas"] == (0.0, 0.9)


def test_momentum_never_falls_to_what_means_unused():
    # At 0 it would be taken for a momentum that was never used, and stay there.
    with pytest.raises(ScheduleError, match="base_momentum must be 0 < value < 1, but got 0"):
        OneCycle(base_momentum=0.0)


def through_json(state):
    return json.loads(json.dumps(state))


def through_a_checkpoint(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


TOTAL_STEPS, UPDATES = 18, 21
LOSSES = [1.0, None, 0.8, 0.9, math.nan, None, None, 0.7, 0.75, 0.8, None, 0.71, 0.7, 0.7] + [
    0.72
] * 7


@pytest.mark.parametrize("carry", [through_json, through_a_checkpoint])
@pytest.mark.parametrize("optimizer_state", ["never", "before", "after"])
@pytest.mark.parametrize("family", families.values(), ids=families)
def test_a_run_restored_at_any_step_continues_exactly(family, optimizer_state, carry):
    # Torch warns of calls in the wrong order, and a warning fails a test: restored or not, the
    # ordinary order must stay silent.
    schedule = Schedule(family(), BASE_LR, None if family.has_own_warmup else Warmup("cosine", 0.2))
    optimizer = two_groups()
    scheduler = schedule.torch(optimizer, TOTAL_STEPS)
    whole, states = [], []
    for update in range(UPDATES):
        states.append((carry(optimizer.state_dict()), carry(scheduler.state_dict())))
        whole += follow(optimizer, scheduler, 1, LOSSES[update:])
    assert len({lr for (lr, _), _ in whole}) > 1 or family is Constant

    for update, (saved_optimizer, saved_scheduler) in enumerate(states):
        optimizer = two_groups(slow_lr=0.5)  # the ratio is the saved run's
        if optimizer_state == "before":
            optimizer.load_state_dict(saved_optimizer)
        scheduler = schedule.torch(optimizer, TOTAL_STEPS)
        scheduler.load_state_dict(saved_scheduler)
        if optimizer_state == "after":
            optimizer.load_state_dict(saved_optimizer)
        assert scheduler.get_last_lr() == [lr for lr, _ in whole[update]]
        rest = follow(optimizer, scheduler, UPDATES - update, LOSSES[update:])
        assert rest == whole[update:], f"restored at {update}"


def test_a_state_is_a_copy():
    optimizer = sgd()
    scheduler = Schedule(Plateau(patience=0), BASE_LR).torch(optimizer, 9)
    state = scheduler.state_dict()
    follow(optimizer, scheduler, 3, [1.0, 1.0, 1.0])
    scheduler.load_state_dict(state)
    follow(optimizer, scheduler, 3, [1.0, 1.0, 1.0])
    assert state["losses"] == []
    assert settings(optimizer)[0][0] == pytest.approx(BASE_LR / 100)


def test_a_tensor_rate_stays_the_same_tensor():
    # A compiled or captured optimizer reads the tensor, not the dictionary.
    rate = torch.tensor(1.0)
    optimizer = Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate, foreach=False)
    scheduler = Schedule(Linear(), BASE_LR).torch(optimizer, 10)
    follow(optimizer, scheduler, 4)
    assert optimizer.param_groups[0]["lr"] is rate
    scheduler.load_state_dict(scheduler.state_dict() | {"step": 5})
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(BASE_LR / 2)


def test_the_wrong_order_warns():
    scheduler = Schedule(Constant(), BASE_LR).torch(sgd(), 10)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()


def test_an_empty_run_is_refused():
    with pytest.raises(ScheduleError, match="total_steps=0"):
        Schedule(Constant(), BASE_LR).torch(sgd(), 0)
