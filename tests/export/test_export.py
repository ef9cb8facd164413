"""Exports: read back, and the same rate at every step in a file that needs only torch."""

import ast
import csv
import io
import json
import math

import numpy as np
import optuna
import pytest
import torch

from lrsearch import Schedule, SearchSpace, families, load_schedule, open_storage, open_study
from lrsearch.errors import ScheduleError, StudyError
from lrsearch.evaluation import read_answer
from lrsearch.export import FORMATS, Exported
from lrsearch.schedules import Clock
from lrsearch.storage import read_metrics

LOSSES = (1.0, 0.7, 0.72, math.nan, 0.71, 0.5, 0.55, 0.56, 0.57, 0.58)


def draws(name: str, count: int = 4) -> list[Exported]:
    """Schedules of a family drawn from the whole space, as exports of a run of 137 updates."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space, clock = SearchSpace((name,)), Clock(137, len(LOSSES))
    return [
        Exported(space.suggest(study.ask(), 137), "s {} '\"", number, 0.5, clock, LOSSES)
        for number in range(count)
    ]


@pytest.mark.parametrize("name", families)
def test_python_gives_the_same_rate_and_momentum_at_every_step(name):
    for best in draws(name):
        text = FORMATS["python"](best)
        imports = {
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert {name.split(".")[0] for name in imports} <= {
            "__future__", "collections", "math", "torch", "typing", "warnings",
        }  # fmt: skip
        module: dict = {"__name__": "exported"}
        exec(compile(text, "exported.py", "exec"), module)
        assert module["TOTAL_STEPS"] == 137
        theirs, ours = module["Schedule"](), best.schedule
        for steps in (137, 1000, 1):
            rates = [theirs.lr(step, steps) for step in range(steps)]
            assert rates == ours.curve(steps).tolist()
            for step in range(steps):
                assert theirs.momentum(step, steps) == ours.momentum(step, steps)

        weights = [torch.nn.Parameter(torch.zeros(())) for _ in range(2)]
        optimizers = [torch.optim.SGD([w], lr=1.0, momentum=0.9) for w in weights]
        schedulers = [
            module["ScheduleLR"](optimizers[0], theirs, 137),
            ours.torch(optimizers[1], 137),
        ]
        for step in range(140):
            assert optimizers[0].param_groups[0]["lr"] == optimizers[1].param_groups[0]["lr"]
            assert (
                optimizers[0].param_groups[0]["momentum"]
                == optimizers[1].param_groups[0]["momentum"]
            )
            loss = (LOSSES[step // 14],) if step % 14 == 13 else ()
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step(*loss)


@pytest.mark.parametrize("name", families)
def test_json_is_read_back_equal(name, tmp_path):
    for best in draws(name):
        path = tmp_path / "best.json"
        path.write_text(FORMATS["json"](best))
        assert load_schedule(path) == best.schedule
        data = json.loads(path.read_text())
        assert data["format"] == 1
        assert data["total_steps"] == 137
        assert list(data)[:4] == ["format", "schedule", "study", "trial"]


@pytest.mark.parametrize("name", families)
def test_csv_holds_the_curve(name):
    for best in draws(name):
        rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](best))))
        assert [int(row["step"]) for row in rows] == list(range(137))
        curve = best.schedule.curve(137, LOSSES)
        np.testing.assert_array_equal([float(row["lr"]) for row in rows], curve)
        for step, row in enumerate(rows):
            momentum = best.schedule.momentum(step, 137)
            assert row["momentum"] == ("" if momentum is None else str(momentum))


def test_csv_of_plateau_is_the_curve_as_trained(small_data):
    from lrsearch.tasks.fashion_mnist import task

    schedule = Schedule(families["plateau"](patience=0, threshold=0.2), 0.05)
    epochs = list(
        task(data_dir=str(small_data), epochs=6, batch_size=100).run(
            schedule, epochs=6, seed=0, device="cpu"
        )
    )
    losses = tuple(progress.metrics["val_loss"] for progress in epochs)
    rows = csv.DictReader(
        io.StringIO(
            FORMATS["csv"](
                Exported(schedule, "s", 0, 0.5, Clock(epochs[-1].step, len(epochs)), losses)
            )
        )
    )
    rates = [float(row["lr"]) for row in rows]
    assert [rates[progress.step - 1] for progress in epochs] == [p.lr for p in epochs]
    assert len(set(rates)) > 1


def test_csv_of_plateau_without_losses_is_refused():
    best = Exported(Schedule(families["plateau"](), 0.1), "s", 3, 0.5, Clock(10, 10), ())
    with pytest.raises(StudyError, match="trial 3 has no val_loss"):
        FORMATS["csv"](best)


def test_exported_takes_the_best_or_the_trial_asked_for(finished_study):
    study = open_study(open_storage(finished_study))
    best = Exported.of(study, read_answer(study))
    complete = [t for t in study.optuna.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert best.value == max(trial.value for trial in complete)
    assert best.total_steps == 2 * 20
    other = Exported.of(study, read_answer(study, 0))
    assert other.schedule == Schedule(families["one_cycle"](), 0.2)
    assert len(other.losses) == 2
    assert (
        other.losses[-1] == read_metrics(study.storage, study.study_id, [0])[-1].metrics["val_loss"]
    )
    with pytest.raises(StudyError, match='trial 1 is not complete, but "diverged"'):
        read_answer(study, 1)
    with pytest.raises(StudyError, match="no trial 99"):
        read_answer(study, 99)


def test_searched_options_of_adam_are_exported_as_they_were_trained(tmp_path):
    from lrsearch import StudySpec, create_study
    from lrsearch.tasks import load_task
    from lrsearch.worker import work

    spec = StudySpec.from_dict(
        {
            "study": {"name": "adam", "trials": 1},
            "task": {
                "run": "tests.diagnosis.networks:stable", "epochs": 1, "optimizer": "adam",
            },
            "space": {
                "families": ["constant"],
                "base_lr": 0.01,
                "task.optimizer.one_minus_beta1": {},
                "task.optimizer.eps": {},
            },
            "pruning": {"kind": "none"},
        }
    )  # fmt: skip
    url = f"sqlite:///{tmp_path}/study.db"
    create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    work(url, None, "cpu")
    study = open_study(open_storage(url))
    best = Exported.of(study, read_answer(study))
    params = study.record(0).params
    beta1, eps = 1 - params["task.optimizer.one_minus_beta1"], params["task.optimizer.eps"]
    assert best.settings["optimizer"] == {"name": "adam", "eps": eps, "betas": [beta1, 0.999]}
    assert f"betas=({beta1!r}, 0.999), eps={eps!r}" in FORMATS["lightning"](best)
    assert f"epsilon={eps!r}, beta_1={beta1!r}, beta_2=0.999" in FORMATS["keras"](best)
    assert f"eps={eps!r}, b1={beta1!r}, b2=0.999" in FORMATS["optax"](best)


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
def test_a_run_that_a_prepended_warmup_makes_longer_is_exported_as_trained(
    lr_every, small_data, tmp_path
):
    from lrsearch import StudySpec, create_study
    from lrsearch.tasks import load_task
    from lrsearch.worker import work

    task = {
        "run": "lrsearch.tasks.fashion_mnist:task", "epochs": 2, "batch_size": 50,
        "data_dir": str(small_data), "lr_every": lr_every,
    }  # fmt: skip
    warmup = {"shape": "linear", "fraction": 0.5, "prepend": True}
    spec = StudySpec.from_dict(
        {
            "study": {"name": "longer", "trials": 2},
            "task": task,
            "pruning": {"kind": "none"},
            "schedules": [
                {"schedule": "linear", "base_lr": 0.05, "warmup": warmup},
                {"schedule": "linear", "base_lr": 0.05, "warmup": warmup | {"prepend": False}},
            ],
        }
    )
    url = f"sqlite:///{tmp_path}/study.db"
    create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    work(url, None, "cpu")
    study = open_study(open_storage(url))
    longer, inside = study.records(epochs=True)
    assert inside.duplicate_of is None
    assert [[row.step for row in each.epochs] for each in (longer, inside)] == [[40, 60], [20, 40]]
    best = Exported.of(study, read_answer(study, longer.number))
    assert json.loads(FORMATS["json"](best))["total_steps"] == 60
    rates = [float(row["lr"]) for row in csv.DictReader(io.StringIO(FORMATS["csv"](best)))]
    assert [rates[row.step - 1] for row in longer.epochs] == [row.lr for row in longer.epochs]
    assert len(set(rates[:20])) == (20 if lr_every == "update" else 1)
    module: dict = {"__name__": "exported"}
    exec(compile(FORMATS["python"](best), "exported.py", "exec"), module)
    assert [module["Schedule"]().lr(step, 60) for step in range(60)] == rates


def test_where_the_rate_changes_once_an_epoch_all_speak_of_the_curve_that_was_trained(
    small_data, tmp_path
):
    from lrsearch import StudySpec, create_study
    from lrsearch.evaluation import train
    from lrsearch.tasks import load_task
    from lrsearch.worker import work

    given = {"schedule": "cosine", "base_lr": 0.01}
    warmup = {"shape": "linear", "fraction": 0.5, "start": 0.1}
    spec = StudySpec.from_dict(
        {
            "study": {"name": "epochs", "trials": 4},
            "task": {
                "run": "lrsearch.tasks.fashion_mnist:task", "epochs": 4, "batch_size": 50,
                "data_dir": str(small_data), "lr_every": "epoch", "optimizer": "adam",
            },
            "space": {
                "families": ["cosine"], "base_lr": 0.01,
                "warmup": "linear", "warmup_steps": {"low": 2, "high": 3},
            },
            "pruning": {"kind": "none"},
            "schedules": [given, {**given, "warmup": warmup}, given],
        }
    )  # fmt: skip
    url = f"sqlite:///{tmp_path}/study.db"
    task = load_task(spec.task.run, spec.task_options())
    create_study(open_storage(url), spec, task)
    work(url, None, "cpu")
    study = open_study(open_storage(url))
    plain, warm, same, searched = study.records(epochs=True)
    assert (warm.duplicate_of, same.duplicate_of) == (None, plain.number)
    assert searched.schedule.warmup.fraction in (0.5, 0.75)  # whole epochs
    for trial in (plain, warm, searched):
        if trial.duplicate_of is not None:
            continue
        trained = [row.lr for row in trial.epochs]
        assert len(set(trained)) > 1
        steps, rates = trial.curve()  # what figures draw
        drawn = np.interp(range(0, 80, 20), steps, rates)
        assert drawn == pytest.approx(trained, abs=0.003 * 0.01)
        best = Exported.of(study, read_answer(study, trial.number))
        exported = [float(row["lr"]) for row in csv.DictReader(io.StringIO(FORMATS["csv"](best)))]
        assert exported == [lr for lr in trained for _ in range(20)]
        again = train(task, trial.schedule, seed=spec.study.seed, device="cpu")
        assert [row.lr for row, _ in again] == trained


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "no exported schedule"),
        ('{"format": 2, "schedule": {}}', "no exported schedule"),
        ('{"format": 1, "schedule": {"schedule": "cosin", "base_lr": 1}}', "did you mean 'cosine'"),
        ('{"format": 1, "schedule": {"schedule": "cosine", "base_lr": NaN}}', "nan"),
    ],
)
def test_broken_schedule_files_are_refused(text, said, tmp_path):
    path = tmp_path / "best.json"
    path.write_text(text)
    with pytest.raises(ScheduleError, match=said):
        load_schedule(path)
    with pytest.raises(ScheduleError, match="No such file"):
        load_schedule(tmp_path / "nowhere.json")
