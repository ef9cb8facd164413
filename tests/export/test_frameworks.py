"""Exported files in the real frameworks: at every update the rate that was trained with.

Also of schedules whose rate changes once an epoch.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import optuna
import pytest
import running

from lrsearch import Schedule, SearchSpace, Warmup, families
from lrsearch.export import FORMATS, Exported
from lrsearch.schedules import Clock, Plateau

TOTAL = 40


def cases(name, total_steps):
    """A family's defaults, and schedules from its whole space with warmups where it takes them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [SearchSpace((name,)).suggest(study.ask(), total_steps) for _ in range(2)]
    schedules = [Schedule(families[name](), 0.3)]
    warmups = (Warmup("cosine", 0.11, 0.05), Warmup("linear", 0.25))
    for schedule, warmup in zip(drawn, warmups, strict=True):
        laid = None if schedule.family.has_own_warmup else warmup
        schedules.append(Schedule(schedule.family, schedule.base_lr, laid))
    if not families[name].has_own_warmup and name != "plateau":
        schedules.append(Schedule(families[name](), 0.3, Warmup("linear", 1 / 9, prepend=True)))
        schedules.append(Schedule(families[name](), 0.3, Warmup("linear", 0.1, from_zero=True)))
    if name in ("cosine", "plateau"):
        doubled = Warmup("linear", 0.1, doubled_at=(0.05, 0.175))
        schedules.append(Schedule(families[name](), 0.3, doubled))
    every = [Exported(s, "s", 0, 0.5, Clock(total_steps, 10), running.LOSSES) for s in schedules]
    epochs = Clock(total_steps, 10, lr_every="epoch")
    return [*every, *(replace(best, clock=epochs) for best in every)]


def framework(name):
    pytest.importorskip(name, reason=f"{name} is not installed; pip install '.[frameworks]'")


def run(name, best, folder):
    more = (folder,) if name == "transformers" else ()
    module = running.loaded(FORMATS[name](best))
    assert best.total_steps == module.TOTAL_STEPS
    return getattr(running, name)(module, best.total_steps, *more)


def test_keras_drops_where_we_do_with_its_own_patience():
    framework("keras")
    from types import SimpleNamespace

    rng, differ, evaluations, drops = np.random.default_rng(0), 0, 0, 0
    for patience, cooldown, maximize in product(range(5), range(4), (False, True)):
        names = ("val_accuracy", True) if maximize else ()
        shape = Plateau(0.5, patience, 0.0, cooldown, 0.01, *names)
        best = Exported(Schedule(shape, 0.1), "s", 0, 0.5, Clock(300, 300), (1.0,))
        module = running.loaded(FORMATS["keras"](best))
        assert module.plateau.patience == patience + 1
        optimizer = SimpleNamespace(learning_rate=0.1)
        module.plateau.set_model(SimpleNamespace(optimizer=optimizer))
        module.plateau.on_train_begin()
        values = (0.3 + np.exp(-np.arange(300) / 60)) * (1 + 0.1 * rng.normal(size=300))
        heard = []
        for epoch, value in enumerate((-values if maximize else values).tolist()):
            heard.append(value)
            module.plateau.on_epoch_end(epoch, {shape.metric: value})
            ours = best.schedule.lr(0, 1, heard)
            differ += abs(float(optimizer.learning_rate) - ours) > 1e-6 * ours
            evaluations += 1
        drops += ours < 0.1
    assert (differ, evaluations, drops) == (0, 12_000, 40)


@pytest.mark.parametrize("family", families)
@pytest.mark.parametrize(
    "name",
    [
        "optax",
        "timm",
        pytest.param("keras", marks=pytest.mark.slow),
        pytest.param("lightning", marks=pytest.mark.slow),
        pytest.param("transformers", marks=pytest.mark.slow),
    ],
)
def test_the_framework_trains_with_the_curve(name, family, tmp_path):
    framework(name)
    tolerance = 1e-6 if name in ("keras", "optax") else 1e-12
    for best in (*cases(family, TOTAL), *cases(family, 1)):
        seen = run(name, best, tmp_path)
        schedule, steps = best.schedule, best.total_steps
        curve = best.clock.curve(schedule, running.LOSSES[: min(10, steps)])
        np.testing.assert_allclose([lr for lr, _ in seen], curve, rtol=tolerance, err_msg=family)
        moved = [best.clock.momentum(schedule, step) for step in range(steps)]
        expected = [0.9 if momentum is None else momentum for momentum in moved]
        np.testing.assert_allclose([m for _, m in seen], expected, rtol=tolerance)
