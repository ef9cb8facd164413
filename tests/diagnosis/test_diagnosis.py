"""The diagnosis: it names an instability made on purpose, cures it, leaves stable tasks alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch import cli
from lrsearch.diagnosis import Trace, diagnose, patch, train_trace, verdict
from lrsearch.errors import TaskError

sys.path.insert(0, str(Path(__file__).parent))
from networks import shallow, stable


def trace_of(losses, steps=200, finite=True) -> Trace:
    losses = np.array(losses, dtype=float)
    ones = np.ones(len(losses))
    return Trace(0.1, 0, None, "sgd", steps, losses, ones, ones, ones, ones, 1.0, finite)


def test_the_two_instabilities_are_told_apart():
    falling = np.linspace(2.0, 0.5, 200)
    assert trace_of(falling).instability is None
    early = falling.copy()
    early[5:15] = 9.0
    assert trace_of(early).instability == ("start", 7)  # the third odd batch of five
    late = falling.copy()
    late[120:140] = 3.0
    assert trace_of(late).instability == ("middle", 122)
    lone = falling.copy()
    lone[120] = 9.0
    assert trace_of(lone).instability is None
    assert trace_of(falling[:50], finite=False).instability == ("middle", 50)
    assert trace_of(falling[::-1]).infeasible
    assert trace_of(falling[:50], finite=False).infeasible
    assert not trace_of(falling).infeasible


def test_a_trace_looks_at_every_update_and_leaves_everything_as_it_was():
    generator = torch.get_rng_state()
    trace = train_trace(stable, 0.02, steps=150, seed=0, device="cpu", warmup_steps=20)
    assert torch.equal(torch.get_rng_state(), generator)
    for values in (trace.losses, trace.grad_norms, trace.first_norms, trace.weight_norms):
        assert values.shape == (150,)
        assert np.isfinite(values).all()
    plain = train_trace(stable, 0.02, steps=150, seed=0, device="cpu")
    assert trace.losses[0] == plain.losses[0]
    assert trace.losses[2] > plain.losses[2]  # the warmup holds it back


def test_clipping_bounds_the_step():
    """With SGD an update moves the weights by base_lr times the clipped norm, no further."""
    network = shallow()
    task = replace(stable, model=lambda: network, optimizer="sgd", clip_norm=0.05)
    training = task.start(seed=0, device="cpu", lr=0.1)
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    for update in training.epoch(0):
        after = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        step = float((after - before).norm())
        assert step == pytest.approx(0.1 * min(0.05, float(update.grad_norm)), rel=1e-3)
        before = after


def test_a_stable_task_is_left_alone():
    found = diagnose(stable, low=1e-3, high=0.3, steps=200)
    assert found.unstable is None
    assert any("nothing to cure" in line for line in verdict(found))
    assert patch(found) == {}
    assert not found.warmups
    assert not found.clipped


def test_a_task_in_which_nothing_trains_is_said():
    task = replace(stable, loss=lambda outputs, targets: outputs.sum() * 0 + 1.0)
    with pytest.raises(TaskError, match=r"no rate from 0\.001 .* trains"):
        diagnose(task, low=1e-3, high=0.3, steps=20)


@pytest.mark.slow
def test_an_unstable_task_is_named_cured_and_searched_with_more_success(
    tmp_path, monkeypatch, capsys
):
    """From the study file through `diagnose` to a patched study that does better."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    plain = {
        "study": {"name": "deep", "trials": 12, "metric": "val_loss", "direction": "minimize"},
        "task": {"run": "networks:unstable", "epochs": 10},
        "space": {"families": ["constant", "cosine"], "base_lr": {"low": 1e-3, "high": 0.3}},
        "pruning": {"kind": "none"},
    }
    lines = ["[study]"] + [f"{k} = {json.dumps(v)}" for k, v in plain["study"].items()]
    lines += ["[task]", 'run = "networks:unstable"', "epochs = 60", "[space]"]
    lines += ['families = ["constant", "cosine"]', "base_lr = { low = 1e-4, high = 0.3 }"]
    (tmp_path / "deep.toml").write_text("\n".join(lines))
    monkeypatch.setattr(
        sys, "argv", ["lrsearch", "diagnose", "deep.toml", "--json", "-o", "deep.html"]
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert found["instability"]["where"] in ("start", "middle")
    assert found["cure"]["base_lr"] >= 5 * found["unstable_base_lr"]
    assert (tmp_path / "deep.html").stat().st_size > 1e6

    patched = {key: {**section, **found["patch"].get(key, {})} for key, section in plain.items()}
    patched["study"] = {**plain["study"], "name": "patched"}
    values = {name: search(tmp_path, name, spec) for name, spec in
              (("plain", plain), ("patched", patched))}  # fmt: skip
    assert np.median(values["patched"]) < np.median(values["plain"])


def search(folder, name, spec) -> list[float]:
    """Return the values of a search's trials, that of a diverged one infinite."""
    from lrsearch import StudySpec, create_study, open_storage
    from lrsearch.tasks import load_task
    from lrsearch.worker import work

    read = StudySpec.from_dict(spec)
    url = f"sqlite:///{folder}/{name}.db"
    study = create_study(open_storage(url), read, load_task(read.task.run, read.task_options()))
    work(url, None, "cpu")
    return [
        np.inf if "diverged" in trial.user_attrs else trial.value for trial in study.optuna.trials
    ]
