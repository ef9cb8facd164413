"""A warmup that is adjusted as it trains: when it gets longer, and that what came out is exact."""

import copy
import math

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lrsearch.errors import ScheduleError, TaskError
from lrsearch.schedules import Clock, Constant, Schedule, Warmup
from lrsearch.tasks import Supervised, clock_of
from lrsearch.tasks.packs import Pack
from lrsearch.tasks.watch import Watch
from tests.diagnosis.networks import data, deep, shallow

EPOCHS = 8


def watched(fraction=0.1, clock=None, **changes):
    warmup = Warmup("linear", fraction, adjust=True, **changes)
    return Watch(Schedule(Constant(), 1.0, warmup), clock or Clock(100, 10), baseline=2.0)


def hear(watch, *seen):
    """Tell of updates, each a loss or a pair of loss and norm."""
    for done, each in enumerate(seen, 1):
        watch.update(done, *(each if isinstance(each, tuple) else (each, 1.0)))
    return watch.trained.warmup.doubled_at


def test_a_jump_of_the_loss_doubles_the_warmup_once():
    assert hear(watched(), 2.0, 1.9, 2.4, 2.5, 2.6, 1.9) == (0.03,)
    assert hear(watched(), 2.0, 1.9, 2.2, 1.9) == ()  # by less than a fifth of what is to be beaten
    # over with an update that shows none; then the next counts
    assert hear(watched(), 2.0, 1.9, 2.4, 1.9, 2.4) == (0.03, 0.05)
    assert hear(watched(), 2.0, math.nan, 2.0) == ()


def test_a_jump_of_the_gradient_counts_where_the_loss_does_not_fall():
    calm = [(2.0, 1.0)] * 5
    assert hear(watched(), *calm, (2.01, 4.1)) == (0.06,)
    assert hear(watched(), *calm, (2.01, 3.9)) == ()
    assert hear(watched(), *calm, (1.99, 9.0)) == ()  # it leaves its first plateau
    assert hear(watched(), *calm[:4], (2.01, 9.0)) == ()  # four say not what is usual


def test_it_stays_within_half_the_run_and_in_the_warmup():
    assert len(hear(watched(), *[2.0, 3.0] * 30)) == 2  # 0.1, 0.2, 0.4
    assert hear(watched(0.3), *[2.0, 3.0] * 30) == ()
    watch = watched()
    assert hear(watch, *[2.0] * 9, 3.0, 2.0, 3.0) == ()  # the warmup ended with the tenth
    assert watch.over
    assert watch.known == Schedule(Constant(), 1.0, Warmup("linear", 0.1))


def test_where_the_rate_changes_once_an_epoch_the_warmup_gets_longer_with_the_next():
    clock = Clock(100, 10, lr_every="epoch")
    watch = watched(0.2, clock)
    assert hear(watch, 2.0, 3.0, 2.0, 3.0) == (0.1,)
    assert not watch.over
    assert clock.curve(watch.trained)[[0, 9, 10, 20, 40]].tolist() == [0.5, 0.5, 0.5, 0.75, 1.0]


@pytest.fixture
def used():
    rates = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    yield rates
    hook.remove()


def run(task, schedule, state=None):
    return task.run(schedule, epochs=EPOCHS, seed=0, device="cpu", state=state)


def numbers(progress):
    return progress.epoch, progress.step, progress.lr, dict(progress.metrics)


@pytest.mark.parametrize("seed", [0, 5])  # on 1 rounding decides, as another seed would
def test_an_unstable_network_trains_only_where_its_warmup_is_lengthened(seed):
    task, outcomes = Supervised(deep, data, batch_size=50, epochs=4), []
    for adjust in (False, True):
        schedule = Schedule(Constant(), 0.03, Warmup("linear", 0.05, adjust=adjust))
        *_, last = task.run(schedule, epochs=4, seed=seed, device="cpu")
        outcomes.append(last)
    without, adjusted = outcomes
    assert without.diverged or not without.learned
    assert adjusted.learned
    assert adjusted.metrics["val_loss"] < 1.4  # chance is ln 5 = 1.61
    assert adjusted.schedule.warmup.doubled_at


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
def test_what_the_schedule_came_to_is_what_was_trained(lr_every, used, monkeypatch):
    """At every update; it trains to the same numbers; a run that is resumed comes to the same."""
    monkeypatch.setattr("lrsearch.tasks.watch.LOSS_RISE", 0.01)  # else nothing jumps here
    task = Supervised(shallow, data, batch_size=100, epochs=EPOCHS, lr_every=lr_every)
    asked = Schedule(Constant(), 0.1, Warmup("linear", 0.25, adjust=True))
    adjusted, states, known = [], [], []
    for progress in run(task, asked):
        adjusted.append(numbers(progress))
        states.append(copy.deepcopy(progress.capture()))
        known.append(progress.schedule)
    final = known[-1]
    assert final.warmup.doubled_at
    assert not final.adjusts
    assert used == clock_of(task, EPOCHS, final).curve(final).tolist()
    assert [numbers(p) for p in run(task, final)] == adjusted
    for done, (state, so_far) in enumerate(zip(states[:-1], known, strict=False), 1):
        for schedule in (asked, final) if not so_far.adjusts else (asked,):
            resumed = list(run(task, schedule, state))
            assert [numbers(p) for p in resumed] == adjusted[done:]
            assert (resumed[-1].schedule or final) == final


def test_a_stable_network_keeps_its_warmup():
    task = Supervised(shallow, data, batch_size=50, epochs=2)
    asked = Schedule(Constant(), 0.05, Warmup("linear", 0.2, adjust=True))
    *_, last = task.run(asked, epochs=2, seed=0, device="cpu")
    assert last.schedule == Schedule(Constant(), 0.05, Warmup("linear", 0.2))


def test_what_cannot_adjust_a_warmup_refuses_it():
    class Other:
        epochs, steps_per_epoch = 3, 10

        def run(self, schedule, **options):
            raise AssertionError

    asked = Schedule(Constant(), 0.1, Warmup("linear", 0.1, adjust=True))
    with pytest.raises(TaskError, match=r"Other does not say .* leave adjust out"):
        clock_of(Other(), schedule=asked)
    with pytest.raises(TaskError, match="adjust a warmup alone"):
        Pack(Supervised(shallow, data), [asked], epochs=1, seed=0, device="cpu")
    with pytest.raises(ScheduleError, match="no curve before"):
        asked.torch(None, 100)
