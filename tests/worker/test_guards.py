"""What protects a study from a power cut, and from a worker that has lost its trial."""

import os
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState
from sqlalchemy import text

from lrsearch import open_storage
from lrsearch.worker.checkpoints import Checkpoints
from tests.in_process import make_trainer


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []

    def fsync(file):
        calls.append(
            ("fsync", os.fstat(file).st_size, str(Path(f"/proc/self/fd/{file}").readlink()))
        )

    real = Path.replace

    def replace(self, target):
        assert not Path(target).exists()  # nothing has that name before it is whole
        calls.append(("replace", self.stat().st_size, str(self)))
        return real(self, target)

    monkeypatch.setattr("lrsearch.worker.checkpoints.os.fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    Checkpoints(tmp_path).save(0, 1, {"run": 0, "epoch": 1, "state": {"x": torch.ones(9)}})
    (written, *flushed), (renamed, *whole) = calls
    assert (written, renamed) == ("fsync", "replace")
    assert flushed == whole  # all of it


def test_sqlite_flushes_what_a_power_cut_must_not_corrupt(tmp_path):
    with open_storage(f"sqlite:///{tmp_path}/study.db").reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 1  # NORMAL


@pytest.mark.slow
def test_who_has_lost_a_trial_fails_nothing(place):
    from test_resume import join, run_out

    study = place.create("trouble:Fake", trials=1)
    lost = join(study).claim()
    run_out(study)
    successor = join(study).claim()
    assert successor.number == lost.number
    make_trainer(study, join(study))._fail(lost, RuntimeError("too late"))
    (trial,) = study.optuna.get_trials()
    assert (trial.state, trial.user_attrs) == (TrialState.RUNNING, {})
    with study.storage.guarded(successor.check):
        study.storage.set_trial_user_attr(successor.trial_id, "mine", True)
