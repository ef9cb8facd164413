"""A database of version 0.1, its worker killed in the middle of a trial, opens and goes on.

`version_1/` was written by that version: a search of which 9 of 12 trials had ended (one diverged,
one is a duplicate), its confirmation, and the checkpoint of the trial that was in training;
`expected.json` and `best.json` are what that version itself made of it.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lrsearch import open_storage, open_study
from lrsearch.evaluation import find_confirmation, read_answer
from lrsearch.export import FORMATS, Exported
from lrsearch.reporting import make_report
from lrsearch.storage import NoTrialReason
from lrsearch.storage.tables import VERSION, metadata
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
    assert (status.complete, status.pruned, status.running, status.target) == (6, 3, 0, 12)
    assert (status.diverged, status.duplicates, status.epochs) == (1, 1, 36)
    assert [trial.trial for worker in status.workers for trial in worker.trials] == [9]
    records = study.records()
    assert records[2].duplicate_of == 1
    assert records[0].diverged.epoch == 1
    assert find_confirmation(study).winner.trial == 4
    answer = read_answer(study)
    best = Exported.of(study, answer)
    exported, then = (
        json.loads(FORMATS["json"](best)),
        json.loads((STORED / "best.json").read_text()),
    )
    of_seeds = then.pop("confirmed")  # three: no interval of theirs says anything
    assert {name: exported[name] for name in then} == then
    assert of_seeds.startswith(
        f"{exported['confirmed']['metric']} {exported['confirmed']['mean']:.4f}"
    )
    assert (exported["confirmed"]["seeds"], exported["confirmed"]["error"]) == (3, None)
    assert exported["versions"] == {}  # which were not kept then
    assert make_report(study).section("Best schedules").tables[0].rows


def test_a_worker_goes_on_with_it_by_the_rules_of_now(url):
    """What had ended stays so; what is trained after comes to what that version would have found.

    Which trials are promoted, and what is sampled, have other rules now.
    """
    study = open_study(open_storage(url, create=False), "version-1")
    ended = study.records(epochs=True)[:9]
    assert all(trial.finished for trial in ended)
    assert work(url, "version-1", "cpu") is NoTrialReason.DONE
    trials = study.records(epochs=True)
    assert trials[:9] == ended
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    expected = json.loads((STORED / "expected.json").read_text())
    alike = 0
    for trial, was in zip(trials, expected, strict=True):
        assert trial.number == was["number"]
        if trial.number < 9:
            assert trial.state.name == was["state"]
            assert trial.final_value == was["value"]
            assert len(trial.epochs) == len(was["epochs"])
        if trial.number < 10:  # what was suggested before
            assert trial.params == was["params"]
        if trial.params != was["params"]:
            continue
        alike += 1
        then = {(run, epoch): rest for run, epoch, *rest in was["epochs"]}
        found = {(row.run, row.epoch): row for row in trial.epochs}
        assert set(then) <= set(found) or set(found) <= set(then)
        for at in set(then) & set(found):
            step, lr, loss = then[at]
            assert found[at].step == step
            assert found[at].lr == pytest.approx(lr)
            if loss is not None:  # it did not diverge there
                assert found[at].metrics["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert alike >= 10


def test_its_tables_become_those_of_now(url):
    path = url.removeprefix("sqlite:///")

    def read(query):
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(query).fetchall()

    def columns(table):
        return [name for _, name, *_ in read(f"PRAGMA table_info({table})")]

    assert read("SELECT version FROM lrsearch_version") == [(1,)]
    tables = [name for name in metadata.tables if not name.startswith("lrsearch_version")]
    new = {name for name in tables if not columns(name)}
    assert new == {"lrsearch_seals"}
    there = [name for name in tables if name not in new]
    before = {name: (columns(name), read(f"SELECT * FROM {name}")) for name in there}
    for _ in range(2):  # and stay so
        storage = open_storage(url, create=False)
        assert read("SELECT version FROM lrsearch_version") == [(VERSION,)]
        assert columns("lrsearch_seals") == [
            c.name for c in metadata.tables["lrsearch_seals"].columns
        ]
        for name, (old, rows) in before.items():
            table = metadata.tables[name]
            assert columns(name)[: len(old)] == old
            assert sorted(columns(name)) == sorted(column.name for column in table.columns)
            names = ", ".join(old)
            assert read(f"SELECT {names} FROM {name}") == rows
            for added in set(columns(name)) - set(old):
                assert {value for (value,) in read(f"SELECT {added} FROM {name}")} <= {None, "", 1}
    study = open_study(storage, "version-1")
    assert study.target == 12
    assert study.epochs_target is None
    study.set_limits(epochs=100, seconds=60.0)
    assert open_study(open_storage(url, create=False), "version-1").epochs_target == 100


def test_a_budget_of_epochs_counts_what_the_version_before_trained(url):
    study = open_study(open_storage(url, create=False), "version-1")
    left = 6  # the rest of what is in training, and one epoch short of another trial's full run
    study.set_limits(epochs=36 + left)
    assert work(url, "version-1", "cpu") is NoTrialReason.DONE
    assert 36 < read_status(study).epochs <= 36 + left
    assert {trial.outcome for trial in study.records()} >= {"complete", "pruned", "diverged"}
