"""What every exported file holds, other horizons, and what cannot be exported."""

import ast
import sys
from dataclasses import replace

import pytest
import running
import torch

from lrsearch import Schedule, Warmup, cli, families
from lrsearch.errors import ScheduleError, StudyError
from lrsearch.export import FORMATS, Exported, lost, rescaled
from lrsearch.schedules import Clock

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
    assert len(text.splitlines()) < 50


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
    assert rescaled(COSINE, 70) == replace(COSINE, clock=Clock(70, 10))
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
    assert (status, err) == (0, "")
    assert "40" in out
    for steps in ("77", "1"):
        status, out, err = run("--trial", "0", "--steps", steps, "-o", str(tmp_path / "best"))
        assert (status, out) == (0, "")
        assert err.startswith("note: base_lr 0.05 was found with 40 updates")
        text = (tmp_path / "best").read_text()
        assert len(text.splitlines()) == int(steps) + 1 if name == "csv" else steps in text
    status, out, err = run("--steps", "0")
    assert (status, out) == (2, "")
    assert "Invalid value for '--steps'" in err
