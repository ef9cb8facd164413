"""The range test: it records what it used, stops in time, and leaves everything as it was."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lrsearch.diagnosis import find_lr, range_test
from lrsearch.errors import TaskError
from lrsearch.schedules import Constant, Schedule
from lrsearch.tasks import Data, Progress, Supervised, require_supervised


def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 10, generator=generator)
    y = (x @ torch.randn(10, 4, generator=generator)).argmax(dim=1)
    return Data((x[:1000], y[:1000]), (x[1000:], y[1000:]))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))


def supervised(**changes) -> Supervised:
    return Supervised(**{"model": mlp, "data": data, "batch_size": 50, "epochs": 40} | changes)


def test_the_rate_recorded_is_the_rate_used_and_grows_by_one_factor():
    used = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    try:
        test = range_test(supervised(), seed=0, device="cpu")
    finally:
        hook.remove()
    assert used[: len(test.lrs)] == test.lrs.tolist()
    assert test.lrs[0] == 1e-7
    np.testing.assert_allclose(test.lrs[1:] / test.lrs[:-1], test.lrs[1] / test.lrs[0])
    assert test.ended in ("the loss blew up", "the loss was not finite")
    assert np.isfinite(test.losses).all()


def test_the_suggested_domain_holds_the_picks():
    found = find_lr(supervised())
    low, high = found.suggested
    assert low < found.picks["steepest"].median < high
    for pick in found.picks.values():
        assert pick.low <= pick.median <= pick.high
    assert found.to_dict()["suggested"] == {"low": low, "high": high}
    assert set(found.to_dict()["picks"]) == {"steepest", "valley", "minimum/10", "slide"}


def test_one_seed_one_finding():
    first, second = (range_test(supervised(), seed=3, device="cpu") for _ in range(2))
    assert first.losses.tolist() == second.losses.tolist()
    assert range_test(supervised(), seed=4, device="cpu").losses.tolist() != first.losses.tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_network_mode_and_generators_are_as_before_also_after_a_failure(fails):
    network = mlp().eval()
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        if fails and len(calls) > 20:
            raise RuntimeError("on purpose")
        return nn.functional.cross_entropy(outputs, targets)

    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    task = supervised(model=lambda: network, loss=loss)
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            range_test(task, seed=0, device="cpu")
    else:
        range_test(task, seed=0, device="cpu")
    assert not network.training
    assert torch.equal(torch.get_rng_state(), generator)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_first_loss_that_is_not_finite_is_the_networks_fault():
    task = supervised(loss=lambda outputs, targets: outputs.sum() * math.nan)
    with pytest.raises(TaskError, match=r"first loss is not finite.*not in the rate"):
        find_lr(task)


def test_a_loss_that_never_falls_is_said():
    task = supervised(loss=lambda outputs, targets: outputs.sum() * 0 + 1.0)
    with pytest.raises(TaskError, match="falls at no rate"):
        find_lr(task)


def test_a_loss_that_never_blows_up_is_said():
    """Outputs of length one: however far the weights run, the loss stays small."""

    def bounded(outputs, targets):
        return nn.functional.cross_entropy(nn.functional.normalize(outputs), targets)

    found = find_lr(supervised(loss=bounded))
    assert found.tests[0].ended == "the highest rate"
    assert any("did not blow up" in note for note in found.notes)


def test_it_costs_little_and_two_runs_agree_within_a_third():
    first, second = (find_lr(supervised(), seed=seed) for seed in (0, 100))
    for found in (first, second):
        low, high = found.suggested
        assert 1 <= math.log10(high / low) <= 2.001
        assert found.updates <= 600
        assert sum(len(test.lrs) for test in found.tests) < found.updates  # the coarse one counts
        starts = {float(test.lrs[0]) for test in found.tests}
        assert len(starts) == 1
        assert starts.pop() > 1e-5  # not where nothing moves
    for one, other in zip(first.suggested, second.suggested, strict=True):
        assert 3 / 4 < one / other < 4 / 3


def sleepy(layers=2):
    """Sigmoids on sigmoids: at first the loss hardly moves at any rate."""
    hidden = [nn.Linear(10, 32), nn.Sigmoid()]
    for _ in range(layers - 1):
        hidden += [nn.Linear(32, 32), nn.Sigmoid()]
    return nn.Sequential(*hidden, nn.Linear(32, 4))


def test_tests_begin_where_the_loss_has_left_its_first_plateau():
    task = supervised(model=sleepy, optimizer="sgd")
    found = find_lr(task)
    assert "begin after" in found.notes[0]
    assert found.updates <= 900
    low, high = found.suggested
    losses = {}
    for rate in np.geomspace(0.03, 3.0, 5):
        *_, last = task.run(Schedule(Constant(), float(rate)), epochs=40, seed=0, device="cpu")
        losses[rate] = last.metrics["val_loss"]
    assert low <= min(losses, key=losses.get) <= high
    for test in found.tests:  # from a network that has begun to learn
        assert test.losses[:10].mean() < 0.9 * math.log(4)


def test_a_network_that_does_not_leave_its_plateau_is_said():
    found = find_lr(supervised(model=lambda: sleepy(8), optimizer="sgd"))
    assert "may be a guess" in found.notes[0]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_the_best_of_a_sweep_of_constant_rates_lies_inside(optimizer):
    task = supervised(optimizer=optimizer, epochs=10)
    low, high = find_lr(task).suggested
    losses = {}
    for rate in np.geomspace(task.base_lr.low, max(task.base_lr.high, 3.0), 12):
        *_, last = task.run(Schedule(Constant(), float(rate)), epochs=10, seed=0, device="cpu")
        losses[rate] = math.inf if last.diverged else last.metrics["val_loss"]
    best = min(losses, key=losses.get)
    assert low <= best <= high


def test_parameter_groups_keep_their_ratio():
    ratios = set()

    def optimizer(network):
        first, last = list(network[0].parameters()), list(network[-1].parameters())
        return torch.optim.SGD([{"params": first}, {"params": last, "lr": 0.5}], lr=0.1)

    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: ratios.add(
            round(optimizer.param_groups[1]["lr"] / optimizer.param_groups[0]["lr"], 9)
        )
    )
    try:
        found = find_lr(supervised(optimizer=optimizer))
    finally:
        hook.remove()
    assert ratios == {5.0}
    assert found.suggested[0] < found.suggested[1]


class Valley:
    """Plain gradient descent in a valley, which a rate above 2 / CURVATURE climbs out of."""

    epochs, steps_per_epoch = 20, 5
    CURVATURE = 40.0

    def __init__(self, name="train_loss"):
        self.name = name
        self.rates = []

    def run(self, schedule, *, epochs, seed, device, state=None):
        x, rng = np.array([1.0, 1.0]), np.random.default_rng(seed)
        total = epochs * self.steps_per_epoch
        for epoch in range(1, epochs + 1):
            for step in range((epoch - 1) * self.steps_per_epoch, epoch * self.steps_per_epoch):
                self.rates.append(schedule.lr(step, total))
                noise = rng.normal(scale=0.1, size=2)
                x = x - self.rates[-1] * (np.array([1.0, self.CURVATURE]) * x + noise)
            yield Progress(epoch, {self.name: float(x @ (x * [0.5, self.CURVATURE / 2]))})


@pytest.mark.parametrize("name", ["train_loss", "val_loss"])
def test_of_a_task_that_says_only_how_an_epoch_ended_whole_epochs_are_trained(name):
    task = Valley(name)
    found = find_lr(task)
    low, high = found.suggested
    assert 1 < high / (2 / task.CURVATURE) < 5
    assert 1 <= math.log10(high / low) <= 2.001
    assert found.updates <= len(task.rates) < found.updates + 5 * task.steps_per_epoch
    coarse = round(9 * 6 * (1 - 1e-9))
    grows = np.diff(np.log(task.rates[: coarse // 2]))
    np.testing.assert_allclose(grows, grows[0], rtol=1e-6)
    assert [find_lr(Valley(name)).suggested for _ in range(2)] == [found.suggested] * 2


def test_a_task_without_a_loss_is_told_what_to_give():
    with pytest.raises(TaskError, match=r'gives score, but no loss.*yield "train_loss"'):
        find_lr(Valley("score"))


def test_what_needs_every_update_refuses_other_tasks_clearly():
    with pytest.raises(TaskError, match="a Valley only says how an epoch ended"):
        require_supervised(Valley())
