"""Training once: the run is the trial's own, and what is saved is what was trained."""

import csv
import math

import pytest
import torch
from safetensors.torch import load_file

from lrsearch import Progress, Schedule, StudySpec, create_study, load_schedule, open_storage
from lrsearch.errors import StudyError, TaskError
from lrsearch.evaluation import options_for, save_curve, save_model, train
from lrsearch.export import FORMATS, Exported
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
                "base_lr": {"low": 0.01, "high": 0.1},
                "task.batch_size": {"choices": [50, 100]},
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
    best = Exported.of(study.name, study.best())
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


class NoNetwork:
    epochs = 2
    steps_per_epoch = 10

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            loss = math.nan if schedule.base_lr > 1 else 0.5
            yield Progress(epoch, {"val_loss": loss}, capture=lambda: {"weights": [1.0]})


def test_what_diverges_or_has_no_network_is_said(tmp_path):
    schedule = Schedule.from_dict({"schedule": "constant", "base_lr": 2.0})
    with pytest.raises(TaskError, match=r"diverged in epoch 1 at update 10, lr 2"):
        list(train(NoNetwork(), schedule, seed=0, device="cpu"))
    small = Schedule.from_dict({"schedule": "constant", "base_lr": 0.1})
    *_, (_, progress) = train(NoNetwork(), small, seed=0, device="cpu")
    with pytest.raises(TaskError, match="holds no 'network'"):
        save_model(progress, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
