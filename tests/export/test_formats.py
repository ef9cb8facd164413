"""What every exported file holds, other horizons, and what cannot be exported."""

import ast
import inspect
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import running
import torch

from lrsearch import Schedule, Warmup, cli, families
from lrsearch.cli import export
from lrsearch.errors import ScheduleError, StudyError
from lrsearch.export import FORMATS, Exported, cautions, lost, rescaled
from lrsearch.export.optimizers import KINDS
from lrsearch.schedules import Clock
from lrsearch.study import Confirmed
from lrsearch.tasks.optimizers import OPTIMIZERS, build_optimizer

FRAMEWORKS = ("lightning", "transformers", "keras", "optax", "timm")
COSINE = Exported(Schedule(families["cosine"](), 0.1), "s", 0, 0.5, Clock(1000, 10), ())


def of(family, warmup=None, **params):
    return replace(COSINE, schedule=Schedule(families[family](**params), 0.1, warmup))


def imported(text):
    nodes = ast.walk(ast.parse(text))
    names = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("family", families)
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("lightning", {"torch"}),
        ("transformers", {"torch", "transformers"}),
        ("keras", {"keras", "numpy"}),
        ("optax", {"optax", "jax"}),
        ("timm", {"timm", "torch"}),
    ],
)
def test_a_file_imports_its_framework_alone(name, allowed, family):
    warmups = [None] if families[family].has_own_warmup else [None, Warmup("linear", 0.1)]
    for warmup in warmups:
        text = FORMATS[name](of(family, warmup))
        standard = {"__future__", "collections", "math", "typing", "warnings"}
        assert imported(text) <= standard | allowed


@pytest.mark.parametrize(
    ("name", "family", "params", "said"),
    [
        ("transformers", "constant", {}, '"lr_scheduler_type": "constant"'),
        ("transformers", "cosine", {}, '"lr_scheduler_type": "cosine"'),
        ("transformers", "cosine", {"min_factor": 0.1}, '{"min_lr_rate": 0.1}'),
        ("transformers", "linear", {}, '"lr_scheduler_type": "linear"'),
        ("transformers", "linear", {"min_factor": 0.5}, '{"lr_end": 0.05, "power": 1.0}'),
        ("transformers", "polynomial", {}, '{"lr_end": 0.0, "power": 2.0}'),
        ("transformers", "plateau", {}, '"lr_scheduler_type": "reduce_lr_on_plateau"'),
        ("timm", "cosine", {}, "CosineLRScheduler("),
        ("timm", "linear", {}, "PolyLRScheduler("),
        ("timm", "polynomial", {}, "PolyLRScheduler("),
        ("timm", "plateau", {}, "PlateauLRScheduler("),
        ("keras", "constant", {}, "learning_rate = BASE_LR"),
        ("keras", "multistep", {}, "boundaries=[499, 749]"),
        ("keras", "step", {}, "PiecewiseConstantDecay("),
        ("keras", "plateau", {}, "callbacks.ReduceLROnPlateau("),
        ("optax", "constant", {}, "optax.constant_schedule(BASE_LR)"),
        ("optax", "multistep", {}, "optax.piecewise_constant_schedule(BASE_LR, {500:"),
        ("optax", "plateau", {}, "optax.contrib.reduce_on_plateau("),
        ("lightning", "plateau", {}, "ReduceLROnPlateau(optimizer, **PLATEAU)"),
    ],
)
def test_the_frameworks_own_schedule_is_used_where_it_is_equal(name, family, params, said):
    text = FORMATS[name](of(family, **params))
    assert said in text
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize("name", ["keras", "optax"])
def test_a_staircase_of_many_drops_is_a_formula(name):
    text = FORMATS[name](of("step", step_size=0.05))
    assert "class Step" in text
    assert "iecewise" not in text


def test_the_rates_of_all_groups_keep_their_ratio():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    assert timm
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = running.loaded(FORMATS["timm"](of("rex"))).get_schedule(optimizer)
    for step in range(1000):
        scheduler.step_update(step)
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert first == pytest.approx(of("rex").schedule.lr(step, 1000), rel=1e-12)
        assert second == pytest.approx(3 * first, rel=1e-12)


@pytest.mark.parametrize("name", ["python", *FRAMEWORKS])
def test_no_name_of_a_study_breaks_the_file(name):
    strange = replace(of("rex"), study='"""\nraise SystemExit\n\\"""\'')
    ast.parse(text := FORMATS[name](strange))
    assert "\nraise" not in text


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_plateau_that_never_drops_is_refused(name):
    with pytest.raises(StudyError, match="never drops"):
        FORMATS[name](of("plateau", drop_factor=1.0))


def test_another_horizon_keeps_all_shares_and_says_what_is_lost():
    plateau = of("plateau", Warmup("linear", 0.01))
    assert rescaled(COSINE, 70) == replace(COSINE, clock=Clock(70, 10), found_with=1000)
    assert lost(COSINE, 1000) == []
    (sentence,) = lost(COSINE, 5000)
    assert "base_lr 0.1 was found with 1000 updates and is not rescaled" in sentence
    assert [sentence.split()[0] for sentence in lost(plateau, 2000)] == ["base_lr", "patience"]
    assert "so there is none" in lost(plateau, 99)[2]
    with pytest.raises(ScheduleError, match="at least 1 update, but got 0"):
        rescaled(COSINE, 0)


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_writes_every_format_for_other_steps(
    name, finished_study, tmp_path, monkeypatch, capsys
):
    def run(*arguments):
        command = ["lrsearch", "export", "--storage", finished_study, "--format", name]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    status, out, err = run("--trial", "0")
    assert (status, "CAUTION" in err) == (0, name == "transformers")
    assert "40" in out
    path = tmp_path / f"best{export.ENDINGS.get(name, '.py')}"
    for steps in ("77", "1"):
        arguments = ("--trial", "0", "--steps", steps, "-o", str(path))
        if path.exists():
            status, out, err = run(*arguments)
            assert (status, out) == (1, "")
            assert "is there already; --force overwrites it" in err
        status, out, err = run(*arguments, "--force")
        assert (status, out) == (0, f"written: {path}\n")
        assert "note: base_lr 0.2 was found with 40 updates" in err
        text = path.read_text()
        assert len(text.splitlines()) == int(steps) + 1 if name == "csv" else steps in text
    status, out, err = run("--steps", "0")
    assert (status, out) == (2, "")
    assert "Invalid value for '--steps'" in err


def test_the_optimizers_of_the_exports_are_those_of_the_study_files():
    """Their options are written out: the frameworks' defaults differ."""
    assert list(KINDS) == list(OPTIMIZERS)
    for name, kind in KINDS.items():
        theirs = OPTIMIZERS[name]
        assert kind.torch == theirs.cls.__name__
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(theirs.cls).parameters.items()
        } | theirs.options
        assert kind.options == {key: defaults[key] for key in kind.options}


def found_with(optimizer, **more):
    return replace(COSINE, settings={"optimizer": optimizer, "batch_size": 64}, **more)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_file_says_how_to_make_the_optimizer_that_it_was_found_with(name):
    """What the docstring says makes an optimizer of torch with the options it was found with."""
    model, base_lr = torch.nn.Linear(2, 2), 0.1
    text = ast.get_docstring(ast.parse(FORMATS["python"](found_with({"name": name}))))
    (line,) = re.findall(r"optimizer = (torch.*)", text)
    made = eval(line, {"torch": torch, "model": model, "BASE_LR": base_lr})
    searched = build_optimizer(name, model.parameters(), base_lr)
    assert type(made) is type(searched)
    assert made.defaults == searched.defaults


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optaxs_optimizer_steps_as_the_one_it_was_found_with(name, decay):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    given = {"name": name, "weight_decay": decay}
    text = ast.get_docstring(ast.parse(FORMATS["optax"](found_with(given))))
    (line,) = re.findall(r"optimizer = (.*)", text)
    made = eval(line, {"optax": optax, "learning_rate": 0.01})
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    theirs = build_optimizer(given, [weight], 0.01)
    params = np.array([1.0, -2.0], dtype="float32")
    state = made.init(params)
    for step in range(5):
        gradient = np.array([0.3 * step + 0.1, -0.2], dtype="float32")
        updates, state = made.update(gradient, state, params)
        params = np.asarray(optax.apply_updates(params, updates))
        weight.grad = torch.tensor(gradient)
        theirs.step()
    assert params == pytest.approx(weight.detach().numpy(), rel=1e-4)


def test_a_rate_for_another_optimizer_than_it_was_found_with_says_so_first():
    for optimizer, said in (
        ("momentum", "CAUTION: found with momentum, not with adamw"),
        ("adamw", None),
        (None, "Its optimizer is not known"),
    ):
        best = found_with(optimizer) if optimizer else COSINE
        doc = ast.get_docstring(ast.parse(FORMATS["transformers"](best)))
        first = doc.splitlines()[2]
        assert first.startswith(said or "Trial 0 of the study"), first
    doc = ast.get_docstring(ast.parse(FORMATS["transformers"](found_with("momentum"))))
    assert "optimizers=(optimizer, None)" in doc
    assert (
        cautions(found_with("momentum"), "python") == cautions(found_with("adamw"), "keras") == []
    )


@pytest.mark.parametrize("name", ["python", *FRAMEWORKS])
def test_a_file_holds_the_whole_winner(name):
    confirmed = Confirmed("test_accuracy", 0.8, 0.01, 5, beaten=("a #1",), tied=("b #2",))
    best = found_with(
        {"name": "momentum", "weight_decay": 1e-4}, metric="val_accuracy", seeds=3,
        known_from="mean of 3 seeds", expected=0.49,
        error=0.02, confirmed=confirmed, data="sha256:abc", versions={"torch": "2.9"},
    )  # fmt: skip
    doc = " ".join(ast.get_docstring(ast.parse(FORMATS[name](rescaled(best, 50)))).split())
    for said in (
        "momentum (weight_decay 0.0001)", "batch_size 64", "0.5, mean of 3 seeds",
        "0.4900 ± 0.0200", "test_accuracy 0.8000 ± 0.0100 (95 %) on 5 fresh seeds", "b #2",
        "10 epochs, 1000 updates", "sha256:abc", "torch 2.9",
    ):  # fmt: skip
        assert said in doc
    stored = json.loads(FORMATS["json"](rescaled(best, 50)))
    assert stored["settings"] == best.settings
    assert stored["confirmed"]["tied"] == ["b #2"]
    assert (stored["total_steps"], stored["found_with"], stored["epochs"]) == (50, 1000, 10)


@pytest.mark.parametrize("name", ["keras", "optax"])
def test_what_is_made_for_one_length_says_how_to_get_another(name):
    for family in ("rex", "multistep"):
        assert f"lrsearch export --format {name} --steps" in FORMATS[name](of(family))
    moving = FORMATS["keras"](of("one_cycle"))
    assert "run_eagerly=True" in ast.get_docstring(ast.parse(moving))


def test_transformers_minus_one_is_the_length_it_was_found_with():
    module = running.loaded(FORMATS["transformers"](of("rex")))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = module.get_schedule(optimizer, -1)
    for step in range(1000):
        assert optimizer.param_groups[0]["lr"] == of("rex").schedule.lr(step, 1000)
        optimizer.step()
        scheduler.step()
