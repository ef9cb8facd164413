"""A database of version 0.1, its worker killed in the middle of a trial, opens and goes on.

`version_1/` was written by that version: a search of which 9 of 12 trials had ended (one diverged,
one is a duplicate), its confirmation, and the checkpoint of the trial that was in training;
`expected.json` and `best.json` are what that version itself made of it.
"""

import json
import shutil
from pathlib import Path

import pytest

from lrsearch import open_storage, open_study
from lrsearch.evaluation import last_confirmation, read_answer
from lrsearch.export import FORMATS, Exported
from lrsearch.reporting import make_report
from lrsearch.storage import NoTrialReason
from lrsearch.study import read_status
from lrsearch.worker import work

STORED = Path(__file__).parent / "version_1"


@pytest.fixture
def url(tmp_path, small_data, monkeypatch):
    folder = shutil.copytree(STORED, tmp_path / "study")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("LRSEARCH_DATA_DIR", str(small_data))
    return f"sqlite:///{folder}/study.sqlite"


def test_what_it_holds_is_read_and_exported_as_before(url):
    study = open_study(open_storage(url, create=False), "version-1")
    status = read_status(study)
    assert (status.complete, status.pruned, status.running, status.target) == (6, 3, 1, 12)
    assert (status.diverged, status.duplicates, status.epochs) == (1, 1, 36)
    assert [trial.trial for worker in status.workers for trial in worker.trials] == [9]
    records = study.records()
    assert records[2].duplicate_of == 1
    assert records[0].diverged.epoch == 1
    assert last_confirmation(study).winner.trial == 4
    answer = read_answer(study)
    best = Exported.of(study.name, answer.trial, answer.confirmed)
    assert FORMATS["json"](best) == (STORED / "best.json").read_text()
    assert make_report(study).best.rows


def test_a_worker_goes_on_with_it_to_the_same_end(url):
    study = open_study(open_storage(url, create=False), "version-1")
    assert work(url, "version-1", "cpu") is NoTrialReason.DONE
    expected = json.loads((STORED / "expected.json").read_text())
    for trial, was in zip(study.records(epochs=True), expected, strict=True):
        assert (trial.number, trial.state.name) == (was["number"], was["state"])
        assert trial.params == was["params"]
        assert trial.final_value == was["value"]
        rows = [[r.run, r.epoch, r.step, r.lr, r.metrics.get("val_loss")] for r in trial.epochs]
        for row, then in zip(rows, was["epochs"], strict=True):
            assert row[:3] == then[:3]
            assert row[3] == pytest.approx(then[3])
            if then[4] is not None:  # it did not diverge there
                assert row[4] == pytest.approx(then[4], rel=1e-4)
