"""Checkpoints: what was damaged is noticed, what is another's is left out."""

import random

import pytest
import torch
from sqlalchemy import delete

from lrsearch.storage import read_metrics
from lrsearch.storage.tables import metrics
from lrsearch.worker.checkpoints import Checkpoints
from tests.in_process import make_trainer

STATE = {"run": 1, "state": {"epoch": 3, "weights": torch.arange(1000.0), "name": "lenet"}}


@pytest.fixture
def checkpoints(tmp_path):
    kept = Checkpoints(tmp_path / "checkpoints")
    kept.save(7, 1, STATE)
    return kept


def test_a_single_flipped_bit_anywhere_is_noticed_or_without_effect(checkpoints):
    (path,) = checkpoints.folder.iterdir()
    content = path.read_bytes()
    rng = random.Random(0)
    places = rng.sample(range(len(content)), 300) + list(range(len(content) - 60, len(content)))
    noticed = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        state, left_out = checkpoints.load(7)
        if state is None:
            assert left_out == [path]
            noticed += 1
        else:
            assert state["state"]["epoch"] == 3
            assert torch.equal(state["state"]["weights"], STATE["state"]["weights"])
    assert noticed >= len(places) - 60  # those in the seal's own name do no harm


@pytest.mark.parametrize("content", [[1, 2], {"other": 1}, {"run": 0}])
def test_what_is_no_checkpoint_is_left_out(checkpoints, content):
    (path,) = checkpoints.folder.iterdir()
    torch.save(content, path)
    assert checkpoints.load(7) == (None, [path])


def test_one_that_an_older_version_wrote_is_read(checkpoints):
    (path,) = checkpoints.folder.iterdir()
    torch.save(STATE, path)
    state, _ = checkpoints.load(7)
    assert torch.equal(state["state"]["weights"], STATE["state"]["weights"])


def test_a_state_of_another_network_starts_the_run_over(place, small_data, exact, caplog):
    from place import check_curves
    from test_resume import Died, join, run_out, train

    task = {"data_dir": str(small_data), "epochs": 3}
    study = place.create("trouble:Held", trials=1, task=task)
    with pytest.raises(Died):
        train(study, join(study), 2)
    run_out(study)
    (path,) = (study.files / "checkpoints").iterdir()
    other = {"epoch": 1, "network": {"weight": torch.ones(2)}}
    Checkpoints(path.parent).save(0, 99, {"run": 0, "state": other})
    train(study, join(study))
    assert study.record(0).finished
    assert "trial 0 starts over" in caplog.text
    check_curves(study)


def test_one_that_is_ahead_of_the_database_is_left_out(place, small_data, exact, caplog):
    """A power cut may take the last commits, and leave the file that was written after them."""
    from place import check_curves
    from test_resume import Died, join, run_out, train

    task = {"data_dir": str(small_data), "epochs": 4}
    study = place.create("trouble:Held", trials=1, task=task)
    with pytest.raises(Died):
        train(study, join(study), 3)
    run_out(study)
    with study.storage.engine.begin() as connection:
        connection.execute(delete(metrics).where(metrics.c.epoch > 1))
    train(study, join(study))
    assert "is damaged, or ahead of the database, and left out" in caplog.text
    assert [row.epoch for row in read_metrics(study.storage, study.study_id)] == [1, 2, 3, 4]
    check_curves(study)


def test_what_a_dead_worker_left_of_finished_trials_is_swept(place):
    from test_resume import Died, join, run_out, train

    study = place.create("trouble:Fake", trials=2)
    train(study, join(study))
    with pytest.raises(Died):
        train(study, join(study), 2)
    run_out(study)
    kept = Checkpoints(study.files / "checkpoints")
    kept.save(0, 99, STATE)  # as its worker had, before it died between ending and removing
    (kept.folder / "trial-000000-lease-00000098.part").touch()
    assert kept.trials() == {0, 1}
    make_trainer(study).sweep()
    assert kept.trials() == {1}
