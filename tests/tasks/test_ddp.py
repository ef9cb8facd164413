"""One trial on several devices: the numbers of one process, and processes that end with it."""

import copy
import math
import os
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lrsearch.errors import DeviceError, TaskError
from lrsearch.schedules import OneCycle, Plateau, Schedule, Warmup
from lrsearch.tasks import Supervised, ranks, run_task, slots
from lrsearch.worker import Run
from lrsearch.worker.trainer import SingleRun
from tests.tasks import networks
from tests.worker.place import spawned_by

EPOCHS = 4


def supervised(model, data, **options):
    return Supervised(
        model, data, **{"drop_last": False, "epochs": EPOCHS, "parallel": "ddp", **options}
    )


def run(task, schedule, device="cpu,cpu", state=None):
    return run_task(task, schedule, epochs=EPOCHS, seed=0, device=device, state=state)


def check_same(found, expected, **tolerance):
    """Check epoch, step and rate to the bit, all that was measured to a tolerance."""
    assert (found.epoch, found.step, found.lr) == (expected.epoch, expected.step, expected.lr)
    assert found.metrics == pytest.approx(expected.metrics, **tolerance)
    assert [step for step, _ in found.curve] == [step for step, _ in expected.curve]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert not spawned_by(os.getpid())
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_the_numbers_are_those_of_one_process_with_the_same_batches():
    """Unequal shares, a last batch of one example for three, clipping, and rates that hear losses.

    Also a parameter that takes part in nothing, and updates before the first epoch's.
    """
    schedule = Schedule(
        Plateau(patience=0, threshold=0.3, drop_factor=0.5),
        0.3,
        Warmup("linear", 0.1, prepend=True),
    )
    task = supervised(
        networks.idle_doubles,
        networks.seventy_one_doubles,
        batch_size=10,
        clip_norm=0.2,
        metrics={"error": networks.share_of_errors},
    )
    alone = list(run(task, schedule, "cpu"))
    assert len({progress.lr for progress in alone}) > 1
    assert all(progress.metrics["grad_norm"] > 0.2 for progress in alone)
    found, states = [], []
    for progress in run(task, schedule, "cpu,cpu,cpu"):
        found.append(progress)
        states.append(copy.deepcopy(progress.capture()))
    exact = {"rel": 1e-12, "abs": 1e-12}
    (resumed,) = run(task, schedule, "cpu", states[-2])  # in one process
    for one, other in zip([*found, resumed], [*alone, alone[-1]], strict=True):
        check_same(one, other, **exact)


@pytest.mark.slow
def test_in_single_precision_too_until_a_pruner_ends_all_processes():
    task = supervised(networks.mlp, networks.seventy, batch_size=9)
    schedule = Schedule(OneCycle(), 0.3)
    single = SingleRun(Run(task, schedule, 0, EPOCHS, 0, None), "cpu,cpu")
    rounds = single.run()
    for _, alone in zip(range(2), run(task, schedule, "cpu"), strict=False):
        check_same(next(rounds)[0], alone, rel=1e-4, abs=1e-5)
        assert len(spawned_by(os.getpid())) == 1
    single.keep([])
    assert next(rounds, None) is None
    assert not spawned_by(os.getpid())


@pytest.mark.slow
def test_what_fails_in_another_process_is_said_as_if_it_had_failed_in_this():
    task = supervised(networks.fails_elsewhere, networks.seventy, batch_size=9)
    with pytest.raises(TaskError, match="process 1 of 2: RuntimeError: CUDA out of memory"):
        next(run(task, Schedule(OneCycle(), 0.3)))


def test_one_that_hangs_in_what_a_dead_one_was_to_answer_is_ended_as_well(monkeypatch):
    """As a GPU's collective does, which nothing in the process can interrupt."""
    monkeypatch.setattr(ranks, "LOOK", 0.01)
    monkeypatch.setattr(ranks, "GRACE", 0.01)
    ended = threading.Event()
    monkeypatch.setattr(ranks.os, "kill", lambda pid, number: ended.set())
    leader = ranks.Leader(["cpu", "cpu"], print)
    dead, end = os.pipe()
    os.close(end)
    leader._others[0].process = SimpleNamespace(sentinel=dead, pid=None)
    watching = threading.Thread(target=leader._watch)
    watching.start()
    assert not ended.wait(0.1)  # between epochs it waits for none of them
    with leader.epoch(0):
        assert ended.wait(60)
    leader.close()
    watching.join()
    os.close(dead)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel": None}, 'cpu,cpu, and a Supervised trains on one; set task.parallel = "ddp"'),
        ({"model": lambda: nn.Linear(8, 3)}, "other processes can import: .*lambda"),
        ({"loss": lambda outputs, targets: math.nan}, "at the top of a module"),
    ],
)
def test_a_task_that_cannot_train_so_says_why(options, message):
    task = supervised(**{"model": networks.mlp, "data": networks.seventy, **options})
    with pytest.raises(TaskError, match=message):
        next(run(task, Schedule(OneCycle(), 0.3)))


def test_devices_are_given_out_by_so_many(monkeypatch):
    monkeypatch.setattr("lrsearch.tasks.devices._visible_gpus", lambda: ["0", "2", "5", "7", "9"])
    found = [(s.device, s.environment) for s in slots("auto", per_trial=2)]
    pair = "cuda:0,cuda:1"
    assert found == [(pair, {"CUDA_VISIBLE_DEVICES": gpus}) for gpus in ("0,2", "5,7")]
    assert [s.device for s in slots("cpu", workers=1, per_trial=3)] == ["cpu,cpu,cpu"]
    assert [s.device for s in slots("cuda:1,cuda:3", per_trial=2)] == ["cuda:1,cuda:3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda", "per_trial": 3}, "--gpus-per-trial is 3, but torch sees 2"),
        ({"device": "cpu", "per_trial": 2, "pack": "8"}, "--pack 8 trains trials together on one"),
        ({"device": "cuda:0,cuda:2"}, "names 'cuda:2'; did you mean 'cuda:"),
        ({"device": "cuda:0,cpu"}, "cuda:0,cpu: a trial's devices are GPUs, each named once"),
        ({"device": "cuda:1,cuda:1"}, "each named once"),
        ({"device": "cpu,cpu", "per_trial": 4}, "--gpus-per-trial is 4, but --device names 2"),
        ({"device": "auto", "per_trial": 2}, "torch sees no GPU; .* say --device cpu"),
        ({"device": "tpu"}, "--device names 'tpu'"),
    ],
)
def test_devices_that_cannot_be_had_are_refused(monkeypatch, arguments, message):
    gpus = [] if "no GPU" in message else ["0", "1"]
    monkeypatch.setattr("lrsearch.tasks.devices._visible_gpus", lambda: gpus)
    with pytest.raises(DeviceError, match=message):
        slots(**arguments)
