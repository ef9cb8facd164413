"""Trackers in a real search: what they kept is what the study holds."""

from pathlib import Path

import pytest

import lrsearch
from lrsearch import tracking
from lrsearch.errors import LrsearchError
from lrsearch.integrations import function_task
from lrsearch.tracking.tracker import Tracker, library


def train(schedule, epochs, seed):
    weight = 1.0
    for epoch in range(epochs):
        for step in range(25 * epoch, 25 * (epoch + 1)):
            weight -= 0.2 * schedule.lr(step, 25 * epochs) * weight
        yield weight**2


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Search in an empty folder, with a tracker; return the study's epochs by run."""
    monkeypatch.chdir(tmp_path)

    def search(tracker, trials=4):
        found = lrsearch.optimize(
            function_task(train, epochs=8, steps_per_epoch=25),
            trials=trials, name="parabola", device="cpu", callbacks=[tracker], progress=False,
        )  # fmt: skip
        runs = {}
        for trial in found.study.records(epochs=True):
            for row in trial.epochs:
                runs.setdefault(f"trial-{row.trial:04}-run-{row.run}", []).append(row)
        return runs

    return search


@pytest.mark.slow
def test_tensorboard_has_every_epoch_of_every_run(search):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = search(tracking.tensorboard)
    folders = {path.name: path for path in Path("runs", "parabola").iterdir()}
    assert set(folders) == set(runs)
    for name, rows in runs.items():
        events = EventAccumulator(str(folders[name])).Reload()
        for tag, values in (
            ("val_loss", [row.metrics["val_loss"] for row in rows]),
            ("lr", [row.lr for row in rows]),
        ):
            kept = events.Scalars(tag)
            assert [event.step for event in kept] == [row.step for row in rows]
            assert [event.value for event in kept] == pytest.approx(values, rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of its own store
def test_mlflow_has_every_epoch_and_what_was_trained(search, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    runs = search(tracking.mlflow)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("parabola")
    kept = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(kept) == set(runs)
    for name, rows in runs.items():
        history = client.get_metric_history(kept[name].info.run_id, "val_loss")
        assert [metric.value for metric in history] == [row.metrics["val_loss"] for row in rows]
        assert kept[name].info.status == "FINISHED"
        assert float(kept[name].data.params["base_lr"]) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")
def test_wandb_keeps_every_run_offline(search, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    runs = search(tracking.wandb)
    kept = list(Path("wandb").glob("offline-run-*/run-*.wandb"))
    assert len(kept) == len(runs)
    assert all(any(name in path.name for path in kept) for name in runs)
    assert all(b"val_loss" in path.read_bytes() for path in kept)


def test_a_run_is_closed_when_it_ends_or_its_check_has_stopped_and_the_next_begins(search):
    open_now, closed = set(), []

    class Recording(Tracker):
        def begin(self, name, parameters):
            assert not any(run.startswith(name[:10]) for run in open_now)
            open_now.add(name)
            return name

        def log(self, run, values, step):
            assert run in open_now

        def end(self, run):
            open_now.remove(run)
            closed.append(run)

    runs = search(Recording, trials=24)
    assert any(len(rows) == 3 for rows in runs.values())  # of eight: a check has stopped
    assert not open_now
    assert sorted(closed) == sorted(runs)


def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(LrsearchError, match="the tracker needs no_such: pip install no-such"):
        library("no_such", "no-such")
