"""A study that comes from elsewhere runs no code here before somebody has vouched for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lrsearch import StudySpec, cli, create_study, open_storage, open_study
from lrsearch.cli.options import allow
from lrsearch.errors import StudyError
from lrsearch.storage.seals import seal_study
from lrsearch.study import SPEC, read_status
from lrsearch.study.trust import named_code

NOTED = """
from pathlib import Path
from lrsearch import Progress

Path("imported").write_text("by somebody")

class Task:
    epochs, steps_per_epoch, metric_names = 1, 50, ("score",)

    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"score": schedule.base_lr})
"""
BEST = '{"format": 1, "schedule": {"schedule": "constant", "base_lr": 0.1}}'


class Fake:
    """The same task for who makes the study; the module that the study names is not imported."""

    epochs, steps_per_epoch, metric_names = 1, 50, ("score",)

    def run(self, schedule, *, epochs, seed, device, state=None):
        raise NotImplementedError


def made(url, run="noted:Task", **sections):
    study = {"name": "theirs", "trials": 2, "metric": "score"}
    task = {"run": run, **sections.pop("task", {})}
    spec = StudySpec.from_dict({"study": study, "task": task, **sections})
    return create_study(open_storage(url), spec, Fake())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A study that another user has made, and a folder with the module that it names."""
    (tmp_path / "noted.py").write_text(NOTED)
    (tmp_path / "best.json").write_text(BEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    url = f"sqlite:///{tmp_path}/study.db"
    made(url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    return url


COMMANDS = {
    "resume": ["resume", "--workers", "1"],
    "work": ["work", "--device", "cpu"],
    "train": ["train", "--schedule", "best.json"],
    "confirm": ["confirm", "--workers", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_code_of_a_study_from_elsewhere_is_not_imported(elsewhere, command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lrsearch", *COMMANDS[command], "--storage", elsewhere])
    if command == "confirm":  # it has no trial to confirm, and says that before it needs the task
        monkeypatch.setattr("lrsearch.evaluation.confirmation_spec", lambda *_: pytest.fail("read"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 1
    for said in ("noted:Task", elsewhere, "--trust", "LRSEARCH_TRUST=1", "lrsearch launch"):
        assert said in error
    assert "noted" not in sys.modules
    assert not Path("imported").exists()
    assert read_status(open_study(open_storage(elsewhere))).finished == 0


@pytest.mark.slow
def test_who_vouches_lets_it_run_also_in_the_workers_that_are_started(elsewhere):
    Path("mine").write_text("no folder: nothing can be remembered")
    command = ["resume", "--trust", "--workers", "1", "--device", "cpu", "--storage", elsewhere]
    done = subprocess.run(
        [sys.executable, "-m", "lrsearch", *command], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert Path("imported").read_text() == "by somebody"
    assert read_status(open_study(open_storage(elsewhere))).finished == 2


@pytest.mark.parametrize("trust", [False, True])
def test_a_batch_system_says_in_the_environment_that_workers_may_run_it(trust, monkeypatch):
    asked = {}
    monkeypatch.setattr("lrsearch.worker.work", lambda *_, **options: asked.update(options))
    monkeypatch.setattr(sys, "argv", ["lrsearch", "work", "--device", "cpu"])
    if trust:
        monkeypatch.setenv("LRSEARCH_TRUST", "1")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert asked["trusted"] is trust


def test_who_launches_the_study_file_vouches_for_it_too(elsewhere):
    study = open_study(open_storage(elsewhere))
    with pytest.raises(StudyError, match="noted:Task"):
        allow(study, trust=False)
    made(elsewhere)
    allow(study, trust=False)


def test_a_study_that_somebody_has_changed_is_another(elsewhere):
    study = open_study(open_storage(elsewhere))
    allow(study, trust=True)
    allow(open_study(open_storage(elsewhere)), trust=False)
    spec = study.optuna.user_attrs[SPEC]
    spec["task"]["data_dir"] = "/somewhere/else"
    study.optuna.set_user_attr(SPEC, spec)
    with study.storage.writing() as connection:  # by somebody who knows of seals
        seal_study(connection, study.study_id)
    with pytest.raises(StudyError, match="noted:Task"):
        allow(open_study(open_storage(elsewhere)), trust=False)


def test_without_a_place_to_remember_it_trust_holds_for_the_command(elsewhere, monkeypatch, caplog):
    (Path.cwd() / "mine").write_text("no folder")
    study = open_study(open_storage(elsewhere))
    allow(study, trust=True)
    assert "cannot remember that study 'theirs' is trusted" in caplog.text
    with pytest.raises(StudyError, match="--trust"):
        allow(study, trust=False)


def test_all_code_that_a_study_names_is_asked_for(tmp_path):
    study = made(
        f"sqlite:///{tmp_path}/study.db",
        "lrsearch.tasks.fashion_mnist:task",
        task={"model": "networks:small", "optimizer": {"name": "sgd", "of": "mine:Rule"}},
        space={"task.model": ["mlp", "networks:large"]},
        workers={"callbacks": ["lrsearch.tracking:tensorboard", "watch:Watcher"]},
    )
    assert named_code(study) == ["mine:Rule", "networks:large", "networks:small", "watch:Watcher"]


@pytest.mark.parametrize("run", ["lrsearch.worker:work", "lrsearch.tasks:load_task", "os:system"])
def test_not_all_that_lies_in_lrsearch_is_a_task(tmp_path, run):
    assert named_code(made(f"sqlite:///{tmp_path}/study.db", run)) == [run]


def test_lrsearchs_own_tasks_need_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    study = made(f"sqlite:///{tmp_path}/study.db", "lrsearch.tasks.fashion_mnist:task")
    allow(study, trust=False)
    assert not (tmp_path / "theirs").exists()
