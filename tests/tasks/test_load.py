"""Tasks by name: what `module:attribute` may be, and what is told when it is not."""

import sys

import pytest

from lrsearch.errors import TaskError
from lrsearch.schedules import Cosine, Schedule
from lrsearch.tasks import Supervised, Task, load_task

BARE = '''
"""A task of one's own: least squares by gradient descent. It knows nothing but its schedule."""

import numpy as np

from lrsearch.tasks import Progress


class LeastSquares:
    epochs = 5
    steps_per_epoch = 20

    def run(self, schedule, *, epochs, seed, device, state=None):
        x = np.random.default_rng(0).normal(size=(100, 3))
        y = x @ [1.0, -2.0, 0.5]
        first, w = (state["epoch"], state["w"]) if state else (0, [0.0, 0.0, 0.0])
        for epoch in range(first, epochs):
            for step in range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch):
                lr = schedule.lr(step, epochs * self.steps_per_epoch)
                w = w - lr * x.T @ (x @ w - y) / len(x)
            yield Progress(
                epoch + 1,
                {"val_loss": float(np.mean((x @ w - y) ** 2))},
                capture=lambda epoch=epoch, w=w: {"epoch": epoch + 1, "w": w.tolist()},
            )
'''

MINE = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    epochs: int = 3
    steps_per_epoch: int = 10
    noise: float = 0.0

    def __post_init__(self):
        if self.noise < 0:
            raise ValueError("noise must not be negative")

    def run(self, schedule, *, epochs, seed, device, state=None):
        yield


class Plain:
    epochs, steps_per_epoch, noise, run = 3, 10, 0.7, Mine.run


class Unfinished:
    epochs = 3


class Namespace:
    def factory(noise=0.1, depth=2):
        return Mine(noise=noise * depth)


instance, plain, factory, number = Mine(noise=0.5), Plain(), Namespace.factory, 3


def passing_on(**options):
    return Mine(**options)


def broken(noise=0.1):
    return len(noise)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path, monkeypatch):
    """Put a user's modules into the working directory, and forget them afterwards."""
    modules = {"bare": BARE, "mine": MINE, "needs": "import not_installed", "stumbles": "None.oops"}
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in modules:
        sys.modules.pop(name, None)


def test_a_bare_generator_is_a_task():
    task = load_task("bare:LeastSquares", {})
    assert isinstance(task, Task)

    def run(state=None):
        return task.run(
            Schedule(Cosine(), 0.3), epochs=task.epochs, seed=0, device="cpu", state=state
        )

    losses, states = zip(*((p.metrics["val_loss"], p.capture()) for p in run()), strict=True)
    assert losses[-1] < 1e-6 * losses[0]
    for done, state in enumerate(states, 1):
        assert [p.metrics["val_loss"] for p in run(state)] == list(losses[done:])


@pytest.mark.parametrize(
    ("path", "options", "epochs", "noise"),
    [
        ("mine:instance", {}, 3, 0.5),
        ("mine:instance", {"epochs": 9}, 9, 0.5),
        ("mine:plain", {}, 3, 0.7),
        ("mine:Mine", {"noise": 0.2}, 3, 0.2),
        ("mine:factory", {}, 3, 0.1 * 2),
        ("mine:factory", {"depth": 4}, 3, 0.1 * 4),
        ("mine:Namespace.factory", {"noise": 0.3}, 3, 0.3 * 2),
        ("mine:passing_on", {"noise": 0.4, "epochs": 8}, 8, 0.4),
    ],
)
def test_a_task_or_what_makes_one(path, options, epochs, noise):
    task = load_task(path, options)
    assert (task.epochs, task.noise) == (epochs, noise)
    assert load_task("mine:instance", {}).epochs == 3  # options apply to a copy


def test_the_options_of_our_own_task(small_data):
    options = {"data_dir": str(small_data), "optimizer": {"name": "adam"}, "epochs": 2}
    task = load_task("lrsearch.tasks.fashion_mnist:task", options)
    assert isinstance(task, Supervised)
    assert (task.optimizer, task.epochs) == ({"name": "adam"}, 2)


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("nowhere:task", {}, "cannot import 'nowhere'"),
        ("nowhere:task", {}, "run from its folder, or add that to PYTHONPATH"),
        ("needs:task", {}, "No module named 'not_installed'"),
        ("mine:nothing", {}, "module 'mine' has no 'nothing'"),
        ("mine:Namespace.nothing", {}, "module 'mine' has no 'Namespace.nothing'"),
        ("mine:number", {}, "is no task and makes none: it is a int"),
        ("mine:Unfinished", {}, "a Unfinished has no steps_per_epoch, run"),
        ("mine:factory", {"nois": 1}, "task.nois is no option of 'mine:factory'; did you mean"),
        ("mine:instance", {"epoch": 1}, "task.epoch is no option of 'mine:instance'; did you mean"),
        ("mine:plain", {"epochs": 1}, "task.epochs is no option of 'mine:plain'"),
        ("mine:passing_on", {"nois": 1}, "unexpected keyword argument 'nois'"),
        ("mine:broken", {"noise": 1}, "'mine:broken' refuses the options {'noise': 1}: object of"),
        ("mine:instance", {"noise": -1}, "noise must not be negative"),
    ],
)
def test_a_mistake_is_told(path, options, said):
    with pytest.raises(TaskError) as error:
        load_task(path, options)
    assert said in str(error.value)


def test_a_module_that_stumbles_over_itself_is_not_told_as_a_wrong_name():
    with pytest.raises(AttributeError, match="oops"):
        load_task("stumbles:task", {})
