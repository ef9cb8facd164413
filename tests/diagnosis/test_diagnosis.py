"""The diagnosis: it names an instability made on purpose, cures it, leaves stable tasks alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch import StudySpec, cli
from lrsearch.diagnosis import (
    Trace,
    diagnose,
    inspect_network,
    load_supervised,
    patch,
    prepare,
    train_trace,
    verdict,
)
from lrsearch.diagnosis.stability import RATES, holds
from lrsearch.errors import TaskError
from lrsearch.reporting import diagnosis_figures

sys.path.insert(0, str(Path(__file__).parent))
from networks import shallow, stable, twenty


def trace_of(losses, steps=200, finite=True) -> Trace:
    losses = np.array(losses, dtype=float)
    ones = np.ones(len(losses))
    baseline = min(2.0, losses[0])
    norms = (ones, ones, ones, ones)
    return Trace(0.1, 0, None, "sgd", steps, baseline, losses, *norms, 1.0, finite, 0)


def test_the_two_instabilities_are_told_apart():
    falling = np.linspace(2.0, 0.5, 200)
    assert trace_of(falling).instability is None
    early = falling.copy()
    early[5:15] = 9.0
    assert trace_of(early).instability == ("start", 5)
    late = falling.copy()
    late[120:140] = 3.0
    assert trace_of(late).instability == ("middle", 120)
    lone = falling.copy()
    lone[120] = 9.0
    assert trace_of(lone).instability == ("middle", 120)  # a single spike is one
    assert trace_of(falling[:50], finite=False).instability == ("middle", 50)
    assert trace_of(falling[::-1]).infeasible
    dead = np.full(200, 2.0)
    dead[:20] = 18.0
    assert trace_of(dead).infeasible  # it fell far, to what a guess gives
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
    assert (trace.baseline, trace.grad_norms[0]) == (plain.baseline, plain.grad_norms[0])
    assert trace.losses[5] > plain.losses[5]  # the warmup holds it back
    assert np.abs(np.diff(plain.losses)).max() < 0.1  # one batch all along: no noise of batches


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


def test_a_study_may_clip_at_any_percentile_of_the_gradients_norms(monkeypatch):
    monkeypatch.setattr("lrsearch.diagnosis.stability.STEPS", 60)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    norms = []
    for percentile in ("p50", "p90", "p95", "p99"):
        task = {"run": "networks:stable", "clip_norm": percentile}
        spec = {"study": {"name": "clipped", "trials": 1}, "task": task}
        prepared, trained = prepare(StudySpec.from_dict(spec), "cpu", base_lr_from_finder=False)
        norms.append(prepared.task.options["clip_norm"])
        assert trained.clip_norm == norms[-1]
    assert 0 < norms[0] < norms[1] <= norms[2] <= norms[3]


def test_a_stable_task_is_left_alone():
    found = diagnose(replace(stable, optimizer="adam"), low=1e-4, high=0.1, steps=200)
    assert found.unstable is None
    assert any("nothing to cure" in line for line in verdict(found))
    assert patch(found) == {}
    assert not found.warmups
    assert not found.clipped


def test_a_task_in_which_nothing_trains_is_said():
    task = replace(stable, loss=lambda outputs, targets: outputs.sum() * 0 + 1.0)
    with pytest.raises(TaskError, match=r"no rate from 0\.001 .* trains"):
        diagnose(task, low=1e-3, high=0.3, steps=20)


@pytest.fixture
def one_thread():
    """As in workers and commands: twenty layers magnify the last bit of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_twenty_layers_without_normalisation_are_unstable_and_the_cures_work_as_said(monkeypatch):
    monkeypatch.setattr("lrsearch.diagnosis.stability.RATES", 6)  # shorter, as are the runs
    task = replace(twenty, epochs=5)
    found = diagnose(task, low=5e-3, high=0.1, steps=100, seed=7)
    said = "\n".join(verdict(found))
    assert found.unstable is not None
    assert found.unstable.base_lr <= 10.01 * found.best.base_lr
    assert [round(t.base_lr / found.best.base_lr) for t in found.above] == [1, 2, 5, 10]
    assert (found.network.layers, found.network.normalised, found.network.residual) == (
        20,
        False,
        0,
    )
    assert "has no normalisation" in said
    assert "no residual connection" in said
    plain, *cures = found.full_length
    assert cures
    for cure in cures:  # each is what short runs held, at a rate that is named
        short = [t for t in (*found.warmups, *found.clipped) if t.base_lr == cure.base_lr]
        assert any(t.stable for t in short)
        assert cure.steps == found.full_run + cure.warmup_steps
        assert f"At {cure.base_lr:.3g} " in said
    drawn = {figure.layout.title.text: figure for figure in diagnosis_figures(found)}
    assert {"Loss against rate for each warmup length", "Loss by warmup length"} <= set(drawn)
    lengths = {trace.name for trace in drawn["Loss against rate for each warmup length"].data}
    assert {"no warmup", "clipped"} <= lengths
    named = found.cure
    assert named is not None
    assert named.base_lr >= found.unstable.base_lr
    ways = ({"warmup_steps": named.warmup_steps, "clip_norm": named.clip_norm}, {})
    cured, without = (
        [
            train_trace(task, named.base_lr, steps=named.steps, seed=fresh, device="cpu", **way)
            for fresh in (17, 27)  # that the diagnosis has not seen
        ]
        for way in ways
    )
    assert all(holds(trace, plain) for trace in cured)
    means = [np.mean([trace.best_val_loss for trace in traces]) for traces in (cured, without)]
    assert means[0] < means[1]


@pytest.fixture
def made_up(monkeypatch):
    """Runs made up: above 0.1 they fail, unless clipped, which fails on the last seed alone.

    Yields the rate, the updates, the seed and the clip norm of each.
    """
    ran = []

    def train(task, base_lr, *, steps, seed, device, warmup_steps=0, clip_norm=None):
        ran.append((base_lr, steps, seed, clip_norm))
        fails = base_lr > 0.1 and (clip_norm is None or (steps == 6000 and seed == 2))
        losses = np.full(steps, 3.0) if fails else np.linspace(2.0, 0.5, steps)
        ones = np.ones(steps)
        best = 2.0 if fails else 0.5 + abs(base_lr - 0.05)
        return Trace(
            base_lr, warmup_steps, clip_norm, "sgd", steps, 2.0, losses,
            ones, ones, ones, ones, best, True, seed,
        )  # fmt: skip

    monkeypatch.setattr("lrsearch.diagnosis.stability.train_trace", train)
    return ran


@pytest.mark.parametrize(("epochs", "short"), [(2, 200), (60, 500)])
def test_a_short_run_is_no_longer_than_the_full_run_and_none_is_trained_twice(
    made_up, epochs, short
):
    task = replace(stable, optimizer="adam", epochs=epochs)
    diagnose(task, low=0.05, high=0.4)
    assert {steps for _, steps, _, _ in made_up[:RATES]} == {short}
    assert max(steps for _, steps, _, _ in made_up) <= 100 * epochs * 1.1  # a warmup before it
    assert len(made_up) == len(set(made_up))
    made_up.clear()
    diagnose(task, low=0.05, high=0.4, steps=300)
    assert made_up[0][1] == 300


def test_a_cure_that_one_seed_of_three_refutes_is_not_named(made_up):
    found = diagnose(replace(stable, optimizer="adam"), low=0.05, high=0.4, steps=200)
    said = " ".join(verdict(found))
    assert found.unstable is not None
    assert found.cure is None
    assert "with seed 2 it ends no lower than a guess" in said
    assert "Nothing tried holds at full length on each of 3 seeds. So lower the rate" in said
    assert "clip_norm" not in patch(found).get("task", {})
    full = [(rate, seed) for rate, steps, seed, clip in made_up if steps == 6000 and clip]
    assert len(full) == len(set(full))
    assert {seed for _, seed in full} == {0, 1, 2}


def test_a_warmup_is_held_for_longer_than_the_instability_took_to_show(monkeypatch):
    """Runs made up: above 0.1 the loss jumps 40 updates after a warmup shorter than 100."""

    def train(task, base_lr, *, steps, seed, device, warmup_steps=0, clip_norm=None):
        losses = np.linspace(2.0, 0.5, steps)
        if base_lr > 0.1 and warmup_steps < 100:
            losses[warmup_steps + 40 :][:5] = 9.0
        ones = np.ones(steps)
        return Trace(
            base_lr, warmup_steps, clip_norm, "sgd", steps, 2.0, losses,
            ones, ones, ones, ones, 0.5 + abs(base_lr - 0.05), True, seed,
        )  # fmt: skip

    monkeypatch.setattr("lrsearch.diagnosis.stability.train_trace", train)
    found = diagnose(replace(stable, optimizer="adam"), low=0.05, high=0.4)
    assert found.unstable.instability == ("start", 40)
    at_goal = [t for t in found.warmups if t.base_lr == found.warmups[0].base_lr]
    assert [(t.warmup_steps, t.stable) for t in at_goal] == [(10, False), (30, False), (100, True)]
    assert "A warmup of 100 updates" in " ".join(verdict(found))


@pytest.mark.slow
def test_the_quick_study_is_unstable_above_its_best_rate_and_no_flat_loss_counts_as_training(
    real_data,
):
    spec = StudySpec.from_toml(Path(__file__).parents[2] / "studies" / "quick.toml")
    task = replace(load_supervised(spec), epochs=2)  # for fewer updates at full length
    found = diagnose(task, low=0.02, high=0.5, steps=100)
    assert 0.02 <= found.best.base_lr <= 0.15
    for trace in (*found.sweep, *found.above):
        at_chance = trace.losses[-10:].min() > 0.98 * np.log(10)
        assert trace.infeasible or not at_chance
    assert found.sweep[-1].infeasible
    assert found.unstable is not None
    assert "nothing to cure" not in " ".join(verdict(found))
    assert found.warmups
    assert found.clipped


class Block(nn.Module):
    def __init__(self, post_norm: bool) -> None:
        super().__init__()
        self.inner, self.norm, self.post_norm = nn.Linear(20, 20), nn.LayerNorm(20), post_norm

    def forward(self, x):
        return self.norm(x + self.inner(x)) if self.post_norm else x + self.inner(self.norm(x))


@pytest.mark.parametrize(
    ("network", "normalised", "residual", "post_norm"),
    [
        (lambda: nn.Sequential(nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 5)), False, 0, 0),
        (lambda: nn.Sequential(nn.Linear(20, 9), nn.BatchNorm1d(9), nn.Linear(9, 5)), True, 0, 0),
        (lambda: nn.Sequential(Block(False), Block(False), nn.Linear(20, 5)), True, 2, 0),
        (lambda: nn.Sequential(Block(True), Block(True), nn.Linear(20, 5)), True, 2, 2),
        (
            lambda: nn.Sequential(
                nn.Unflatten(1, (4, 5)),
                nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(5, 1, 8, batch_first=True), 2,
                    enable_nested_tensor=False,
                ),
                nn.Flatten(),
                nn.Linear(20, 5),
            ),
            True, 4, 4,
        ),
    ],
)  # fmt: skip
def test_normalisation_and_residual_connections_are_found(network, normalised, residual, post_norm):
    found = inspect_network(replace(stable, model=network), seed=0, device="cpu")
    assert (found.normalised, found.residual, found.post_norm) == (normalised, residual, post_norm)
    assert ("norm_first" in " ".join(found.advice())) == bool(post_norm)


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
    lines += ["[task]", 'run = "networks:unstable"', "epochs = 20", "[space]"]
    lines += ['families = ["constant", "cosine"]', "base_lr = { low = 1e-4, high = 0.3 }"]
    (tmp_path / "deep.toml").write_text("\n".join(lines))
    monkeypatch.setattr(
        sys,
        "argv",
        ["lrsearch", "diagnose", "deep.toml", "--steps", "200", "--json", "-o", "deep.html"],
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
    assert np.isfinite(values["patched"]).all()  # the best of twelve alone is one seed's luck
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
