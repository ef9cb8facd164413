"""What a loss tells: chance, whether a run has learned, whether it was unstable but recovered."""

import math
from dataclasses import replace

import pytest
import torch
from optuna.trial import TrialState
from torch import nn

from lrsearch import Progress, Schedule, StudySpec, create_study, open_storage
from lrsearch.evaluation import find_answer, read_confirmation, summarize
from lrsearch.schedules import Constant
from lrsearch.study import read_status, recovered
from lrsearch.tasks import Data, Supervised
from lrsearch.tasks.chance import constant_guess_loss
from lrsearch.tasks.packs import Pack
from lrsearch.worker import work


def entropy(targets):
    shares = torch.bincount(targets) / len(targets)
    return float(-(shares * shares.log()).sum())


CLASSES = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
NUMBERS = torch.linspace(-1, 3, 101).view(-1, 1)
BITS = (torch.arange(100) % 5 == 0).float().view(-1, 1)


@pytest.mark.parametrize(
    ("loss", "targets", "outputs", "chance"),
    [
        (nn.functional.cross_entropy, CLASSES, (1, 3), entropy(CLASSES)),
        (nn.functional.nll_loss, CLASSES, (1, 3), entropy(CLASSES)),
        (nn.functional.cross_entropy, CLASSES.view(50, 2), (1, 3, 2), entropy(CLASSES)),
        (nn.functional.mse_loss, NUMBERS, (1, 1), float(NUMBERS.var(correction=0))),
        (nn.functional.l1_loss, NUMBERS, (1, 1), float((NUMBERS - 1).abs().mean())),
        (nn.functional.binary_cross_entropy_with_logits, BITS, (1, 1), entropy(BITS.long()[:, 0])),
        (nn.functional.binary_cross_entropy, BITS, (1, 1), entropy(BITS.long()[:, 0])),
        (lambda outputs, targets: outputs.nothing, CLASSES, (1, 3), None),
    ],
)
def test_chance_is_the_loss_of_the_best_constant_guess(loss, targets, outputs, chance):
    def quiet(*arguments):
        try:
            return loss(*arguments)
        except AttributeError as error:
            raise TypeError from error

    inputs = torch.zeros(len(targets), 4)
    found = constant_guess_loss(quiet, torch.zeros(outputs), inputs, targets)
    assert found == (chance if chance is None else pytest.approx(chance, rel=1e-3))


def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 10, generator=generator)
    y = (x @ torch.randn(10, 4, generator=generator)).argmax(dim=1)
    return Data((x[:1200], y[:1200]), (x[1200:], y[1200:]))


def noise() -> Data:
    """Few examples whose labels mean nothing: a network can only learn them by heart."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 40, generator=generator), torch.randint(4, (500,), generator=generator)
    return Data((x[:200], y[:200]), (x[200:], y[200:]))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )


plain = Supervised(model=mlp, data=data, optimizer="momentum", batch_size=50, epochs=4)
GOOD, SPIKES, DIES, STILL = 0.05, 0.3, 2.0, 1e-6
SLOW = 0.001
"""Rates at which `plain` learns, jumps and recovers, blows up and then outputs a constant, hardly
moves; at the last it learns in four epochs and not in one."""


def last(task, base_lr, seed=0) -> Progress:
    *_, progress = task.run(Schedule(Constant(), base_lr), epochs=4, seed=seed, device="cpu")
    return progress


def test_a_run_at_chance_has_not_learned_however_it_came_there():
    chance = plain.baseline(plain.start(seed=0, device="cpu", lr=0.1))
    assert 1.2 < chance < math.log(4)
    assert last(plain, GOOD).learned is True
    assert last(plain, STILL).learned is False
    blown, *_, dead = plain.run(Schedule(Constant(), DIES), epochs=4, seed=0, device="cpu")
    assert blown.metrics["loss_jump"] > 10
    assert dead.metrics["val_loss"] < 2  # far below where it was, and no better than a guess
    assert (dead.diverged, dead.learned) == (False, False)


def test_a_network_that_overfits_has_learned():
    task = Supervised(
        model=lambda: nn.Sequential(nn.Linear(40, 256), nn.ReLU(), nn.Linear(256, 4)),
        data=noise, optimizer="adam", batch_size=50, epochs=4,
    )  # fmt: skip
    progress = last(task, 0.01)
    assert progress.metrics["val_loss"] > math.log(4)
    assert progress.learned is True


def test_a_pack_and_a_restored_run_say_the_same():
    rates = [GOOD, DIES, STILL]
    pack = Pack(plain, [Schedule(Constant(), r) for r in rates], epochs=4, seed=0, device="cpu")
    *_, end = pack.run()
    assert [end[number].learned for number in range(3)] == [True, False, False]
    whole = list(plain.run(Schedule(Constant(), GOOD), epochs=4, seed=0, device="cpu"))
    first = plain.run(Schedule(Constant(), GOOD), epochs=4, seed=0, device="cpu")
    state = next(iter(first)).capture()
    rest = plain.run(Schedule(Constant(), GOOD), epochs=4, seed=0, device="cpu", state=state)
    for progress, again in zip(whole[1:], rest, strict=True):
        assert (progress.metrics, progress.learned) == (again.metrics, again.learned)


def test_a_jump_is_measured_from_the_lowest_loss_across_epochs():
    from lrsearch.tasks.history import History

    history = History()
    losses = torch.tensor([2.0, 1.0, 0.5, 0.6])
    assert history.sum_up(losses, losses, 0)[0]["loss_jump"] == pytest.approx(0.05)
    metrics, _ = history.sum_up(torch.tensor([0.9, 1.4, 1.6, 0.7]), losses, 4)
    assert (metrics["loss_jump"], metrics["loss_jump_step"]) == (pytest.approx(0.55), 6)


# --- in a study -----------------------------------------------------------------------------------


def searched(tmp_path, task, rates, metric="val_accuracy", **sections):
    given = [{"schedule": "constant", "base_lr": rate} for rate in rates]
    spec = StudySpec.from_dict(
        {
            "study": {"name": "s", "trials": len(rates), "metric": metric},
            "task": {"run": f"{__name__}:{task}"},
            "pruning": {"kind": "none"},
            "schedules": given,
            **sections,
        }
    )
    url = f"sqlite:///{tmp_path}/study.db"
    study = create_study(open_storage(url), spec, globals()[task])
    work(url, None, "cpu")
    return study


def test_the_outcomes_of_real_runs_of_each_kind(tmp_path):
    """A trial that learned smoothly, one that jumped and recovered, two that learned nothing."""
    study = searched(tmp_path, "plain", [GOOD, SPIKES, DIES, STILL, 0.04, 0.03])
    records = study.records()
    jumped = [r.number for r in records if r.stability.loss_jump > 0.5]
    assert jumped == [1, 2]
    status = read_status(study)
    assert status.unstable == [1]
    assert [r.outcome for r in records] == [
        "complete", "complete", "failed to train", "failed to train", "complete", "complete",
    ]  # fmt: skip
    assert (status.failed_to_train, status.diverged, status.pruned, status.finished) == (2, 0, 2, 6)
    for trial, record in zip(study.optuna.trials[2:4], records[2:4], strict=True):
        assert trial.state == TrialState.PRUNED
        assert trial.constraints == {"failed_to_train": 1.0}
        assert record.value is record.mean is None
    assert study.best().number in (0, 1, 4, 5)


def numbers(noise: float) -> Data:
    """Numbers of variance 1, of which so much is noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 10, generator=generator)
    y = x @ torch.full((10, 1), 0.1**0.5) * (1 - noise) ** 0.5
    y += noise**0.5 * torch.randn(6000, 1, generator=generator)
    return Data((x[:4800], y[:4800]), (x[4800:], y[4800:]))


line = Supervised(
    model=lambda: nn.Linear(10, 1), data=lambda: numbers(0.1), loss=nn.functional.mse_loss,
    metrics={}, optimizer="sgd", batch_size=200, epochs=4,
)  # fmt: skip
faint = replace(line, data=lambda: numbers(0.95))
"""A line, whose loss is a bowl: a high rate throws it far out, a low one brings it back."""


@pytest.mark.parametrize(("task", "recovers"), [("line", [1]), ("faint", [])])
def test_what_recovered_lies_well_below_where_it_began_and_near_its_neighbours(
    tmp_path, task, recovers
):
    """Real curves: two smooth, one thrown out that comes back, one that is still on its way.

    Where little can be learned, nothing comes back to well below where it began.
    """
    high = {"schedule": "multistep", "base_lr": 1.2}
    params = [{"milestones": [0.05], "drop_factor": factor} for factor in (0.05, 0.011)]
    study = searched(
        tmp_path, task, [GOOD], metric="val_loss",
        study={"name": "s", "trials": 4, "metric": "val_loss", "direction": "minimize"},
        schedules=[
            {"schedule": "constant", "base_lr": GOOD},
            *({**high, "params": each} for each in params),
            {"schedule": "constant", "base_lr": 0.04},
        ],
    )  # fmt: skip
    records = study.records()
    assert [r.number for r in records if r.stability.loss_jump > 0.5] == [1, 2]
    assert {r.outcome for r in records[:2]} == {"complete"}
    assert [r.number for r in recovered(records)] == recovers


def test_on_a_short_horizon_it_may_yet_learn(tmp_path):
    """What is at chance after a short horizon is feasible again once it learns on a longer one."""
    (short,) = plain.run(Schedule(Constant(), SLOW), epochs=1, seed=0, device="cpu")
    assert short.learned is False
    pruning = {"kind": "rungs", "horizons": [1, 4], "seeds": 2, "reduction_factor": 4}
    study = searched(
        tmp_path, "plain", [1e-5, SLOW, 2e-5, DIES], metric="val_loss", pruning=pruning,
        study={"name": "s", "trials": 4, "metric": "val_loss", "direction": "minimize"},
    )  # fmt: skip
    records = study.records()
    outcomes = ["failed to train", "complete", "failed to train", "failed to train"]
    assert [record.outcome for record in records] == outcomes
    assert study.best().number == 1
    marked = [bool(trial.constraints) for trial in study.optuna.trials]
    assert marked == [True, False, True, True]
    assert read_status(study).failed_to_train == 3


def test_where_nothing_trains_nothing_is_handed_over(tmp_path):
    pruning = {"kind": "rungs", "horizons": [1, 4], "seeds": 2, "reduction_factor": 2}
    study = searched(tmp_path, "plain", [STILL, DIES], pruning=pruning)
    ran_in_full = [record.number for record in study.records() if 4 in record.reports]
    assert ran_in_full  # the best of those on the short horizon is tried
    assert {trial.state for trial in study.optuna.trials} == {TrialState.PRUNED}
    status = read_status(study)
    assert (status.leading, status.failed_to_train, status.finished) == ([], 2, 2)
    assert find_answer(study) is None


class Bare:
    """A task of one's own that says itself whether it has learned, or leaves it open."""

    epochs, steps_per_epoch = 3, 40

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            learned = {1.0: True, 2.0: False}.get(schedule.base_lr)
            metrics = {"train_loss": 2.0, "score": 1.0 + schedule.base_lr}
            yield Progress(epoch, metrics, learned=learned)


bare = Bare()


def test_a_task_of_ones_own_says_itself_whether_it_has_learned(tmp_path):
    study = searched(tmp_path, "bare", [0.1, 1.0, 2.0], metric="score")
    outcomes = ["complete", "complete", "failed to train"]
    assert [record.outcome for record in study.records()] == outcomes
    assert study.best().number == 1


def test_a_confirmation_says_what_failed_to_train(tmp_path):
    study = searched(
        tmp_path, "plain", [GOOD, DIES],
        study={"name": "s", "trials": 4, "metric": "val_accuracy"},
        confirm={"seeds": [1, 2]},
    )  # fmt: skip
    found = read_confirmation(study)
    assert found.winner is found.entries[0]
    assert found.entries[1].failed_to_train == [1, 2]
    assert "constant (2) failed to train on 2 of 2 seeds" in summarize(found)
