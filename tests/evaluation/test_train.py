"""Training once: the run is the trial's own, and what is saved is what was trained."""

import csv
import math
import os
import stat
import sys

import pytest
import torch
from safetensors.torch import load_file

from lrsearch import Progress, Schedule, StudySpec, cli, create_study, load_schedule, open_storage
from lrsearch.errors import StudyError, TaskError
from lrsearch.evaluation import (
    options_for,
    read_answer,
    save_curve,
    save_model,
    train,
)
from lrsearch.export import FORMATS, Exported
from lrsearch.integrations import function_task
from lrsearch.storage import read_metrics
from lrsearch.tasks import load_task
from lrsearch.tasks.fashion_mnist import lenet
from lrsearch.worker import work

RUN = "lrsearch.tasks.fashion_mnist:task"


@pytest.fixture
def study(tmp_path, small_data):
    url = f"sqlite:///{tmp_path}/study.db"
    spec = StudySpec.from_dict(
        {
            "study": {"name": "small", "trials": 3},
            "task": {"run": RUN, "epochs": 3, "data_dir": str(small_data)},
            "space": {
                "families": ["cosine", "step"],
                "base_lr": {"low": 0.2, "high": 0.5},
                "task.batch_size": {"choices": [20, 25]},
            },
            "pruning": {"kind": "none"},
        }
    )
    study = create_study(open_storage(url), spec, load_task(RUN, spec.task_options()))
    work(url, "small", "cpu")
    return study


def test_training_with_the_exported_schedule_repeats_the_trial_and_saves_the_network(
    study, tmp_path
):
    best = Exported.of(study, read_answer(study))
    path = tmp_path / "best.json"
    path.write_text(FORMATS["json"](best))
    schedule = load_schedule(path)
    task = load_task(RUN, options_for(study, schedule))
    trial = study.best()
    assert task.batch_size == trial.params["task.batch_size"]

    rows = []
    for row, progress in train(task, schedule, seed=study.spec.study.seed, device="cpu"):
        rows.append(row)
        if row.epoch == task.epochs:
            save_model(progress, tmp_path / "model.safetensors")
    found = read_metrics(study.storage, study.study_id, [trial.number])
    for row, searched in zip(rows, found, strict=True):
        shared = {k: v for k, v in row.metrics.items() if not k.startswith("test_")}
        assert (row.step, row.lr, shared) == (searched.step, searched.lr, searched.metrics)
        assert list(row.curve) == searched.curve
        assert all({"train_loss", "train_accuracy"} == set(point) for _, point in row.curve)
        assert len(row.curve) > 1
    assert "test_accuracy" in rows[-1].metrics
    assert "test_accuracy" not in rows[-2].metrics

    network = lenet()
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    inputs, labels = task._data.test()
    network.eval()
    with torch.no_grad():
        guessed = network(inputs.float() / 255).argmax(1)
    assert (guessed == labels).float().mean().item() == pytest.approx(
        rows[-1].metrics["test_accuracy"]
    )

    save_curve(rows, tmp_path / "model.csv")
    with (tmp_path / "model.csv").open(newline="") as file:
        saved = list(csv.DictReader(file))
    assert [float(line["lr"]) for line in saved] == [row.lr for row in rows]
    assert float(saved[-1]["test_accuracy"]) == rows[-1].metrics["test_accuracy"]


def test_searched_options_of_the_task_come_from_the_schedules_trial(study):
    with pytest.raises(StudyError, match=r"searched task\.batch_size, and no trial"):
        options_for(study, Schedule.from_dict({"schedule": "wsd", "base_lr": 0.1}))


RUNS: list[int] = []
"""The lengths of the runs that the tasks below have begun."""


class Stateless:
    epochs = 2
    steps_per_epoch = 10

    def run(self, schedule, *, epochs, seed, device, state=None):
        RUNS.append(epochs)
        for epoch in range(1, epochs + 1):
            yield Progress(epoch, {"val_loss": 0.5})


class NoNetwork:
    epochs = 2
    steps_per_epoch = 10

    def run(self, schedule, *, epochs, seed, device, state=None):
        RUNS.append(epochs)
        for epoch in range(1, epochs + 1):
            loss = math.nan if schedule.base_lr > 1 else 0.5
            curve = [(10 * epoch - 5, {"train_loss": 0.75}), (10 * epoch, {"train_loss": 0.25})]
            metrics = {"val_loss": loss}
            yield Progress(epoch, metrics, capture=lambda: {"weights": [1.0]}, curve=curve)


def trained(schedule, epochs, seed):
    RUNS.append(epochs)
    return 0.5


at_the_end = function_task(trained, epochs=2, steps_per_epoch=10)
"""Shows nothing before its run is over."""


def test_what_diverges_is_said():
    schedule = Schedule.from_dict({"schedule": "constant", "base_lr": 2.0})
    with pytest.raises(TaskError, match=r"diverged in epoch 1 at update 10, lr 2"):
        list(train(NoNetwork(), schedule, seed=0, device="cpu"))


@pytest.fixture
def lrsearch(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with the search of a task and its exported schedule."""
    monkeypatch.chdir(tmp_path)

    def made(run: str):
        url = f"sqlite:///{tmp_path}/lrsearch.db"
        spec = StudySpec.from_dict(
            {"study": {"name": "own", "trials": 1, "metric": "val_loss", "direction": "minimize"},
             "task": {"run": f"{__name__}:{run}"},
             "space": {"families": ["constant"], "base_lr": 0.1}, "pruning": {"kind": "none"}}
        )  # fmt: skip
        create_study(open_storage(url), spec, load_task(spec.task.run, {}))
        work(url, "own", "cpu")

        def command(*arguments: str):
            monkeypatch.setattr(sys, "argv", ["lrsearch", *arguments])
            status = 0
            try:
                cli.main()
            except SystemExit as end:
                status = end.code or 0
            return status, *capsys.readouterr()

        assert command("export", "-o", "best.json")[1] == "written: best.json\n"
        return command

    return made


def test_the_state_of_a_task_without_a_network_is_kept_too(lrsearch, tmp_path):
    command = lrsearch("NoNetwork")
    old = os.umask(0o007)
    try:
        status, out, err = command("train", "--schedule", "best.json")
    finally:
        os.umask(old)
    assert status == 0, err
    assert out.endswith("written: model.pt, model.csv\n")
    assert out.index("update 15  train_loss 0.75") < out.index("update 20  train_loss 0.25")
    assert torch.load(tmp_path / "model.pt") == {"weights": [1.0]}
    assert stat.S_IMODE((tmp_path / "model.pt").stat().st_mode) == 0o660
    status, _, err = command("train", "--schedule", "best.json")
    assert (status, "model.pt is there already; --force overwrites it" in err) == (1, True)
    assert command("train", "--schedule", "best.json", "--force")[0] == 0


@pytest.mark.parametrize("task", ["Stateless", "at_the_end"])
def test_a_task_without_state_is_refused_before_its_run(lrsearch, tmp_path, task):
    command = lrsearch(task)
    RUNS.clear()
    status, out, err = command("train", "--schedule", "best.json")
    assert (status, out) == (1, "")
    assert "the task's Progress has no `capture`" in err
    assert RUNS == [1]  # a rehearsal of one epoch, and no run of two
    assert not list(tmp_path.glob("model*"))


def test_a_state_that_the_ending_cannot_hold_is_refused_before_the_run(lrsearch):
    command = lrsearch("NoNetwork")
    RUNS.clear()
    status, out, err = command("train", "--schedule", "best.json", "-o", "a.safetensors")
    assert (status, out) == (1, "")
    assert "save all of it with -o FILE.pt" in err
    assert RUNS == [1]


def test_a_saved_network_can_be_read_by_whom_the_umask_lets(tmp_path):
    progress = Progress(1, {}, capture=lambda: {"network": {"w": torch.zeros(2)}})
    old = os.umask(0o022)
    try:
        save_model(progress, path := tmp_path / "model.safetensors")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert load_file(path)["w"].tolist() == [0.0, 0.0]
