"""Names, paths, files and databases that somebody made to be trouble: one message, no harm."""

import shlex
import sqlite3
import threading
import urllib.error
import urllib.request
from contextlib import closing
from wsgiref.simple_server import make_server

import pytest
from optuna.trial import TrialState

from lrsearch import Progress, cli, create_study, load_schedule, open_storage, open_study
from lrsearch.cli.view import LiveView, print_result, print_status
from lrsearch.errors import ScheduleError, SpecError, TaskError
from lrsearch.evaluation import find_answer
from lrsearch.reporting.dashboard.server import LOOPBACK, only_as
from lrsearch.storage import TrialQueue, masked
from lrsearch.study import StudySpec, check_task, read_status
from lrsearch.tasks import load_task


class Fake:
    """A task that is never run."""

    epochs = 2
    steps_per_epoch = 50

    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"score": 0.0})


def spec(trials, name="fake"):
    study = {"name": name, "trials": trials, "metric": "score"}
    return StudySpec.from_dict({"study": study, "task": {"run": f"{__name__}:Fake"}})


def make(storage, trials, name="fake"):
    return create_study(storage, spec(trials, name), Fake())


TERMINAL = "\x1b[2J\x1b]0;owned\x07"
SHELL = "a b; touch owned"
MARKUP = "[/red] [bold"


@pytest.mark.parametrize("name", ["50%41.db", "what?.db", "a&b.db", "a#b.db", "a b.db", "50%.db"])
def test_any_file_name_is_the_files_name(tmp_path, name):
    url = f"sqlite:///{tmp_path}/{name}"
    study = make(open_storage(url), trials=1)
    assert all(path.name.startswith(name) for path in tmp_path.iterdir())
    assert (tmp_path / name).is_file()
    assert open_study(open_storage(url, create=False)).name == study.name
    assert masked(url) == masked(study.storage.engine.url) == url
    with closing(sqlite3.connect(tmp_path / name)) as plain:
        assert plain.execute("SELECT count(*) FROM studies").fetchone() == (1,)


def test_a_long_host_name_fits_into_the_tables(storage, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 63)
    study = make(storage, trials=1)
    queue = TrialQueue(storage, study.study_id, "cpu", seconds=60, max_failures=3)
    assert len(queue.worker_id) <= 64
    assert queue.claim().number == 0
    assert read_status(study).workers[0].host == "h" * 63


@pytest.mark.parametrize("name", ["a\0b", TERMINAL, "a\nb", "x" * 481])
def test_a_name_that_cannot_be_shown_or_kept_is_refused(name):
    with pytest.raises(SpecError, match=r"study\.name is"):
        check_task(spec(1, name), Fake())


def finished(storage, name):
    study = make(storage, trials=1, name=name)
    queue = TrialQueue(storage, study.study_id, "cpu", seconds=60, max_failures=3)
    lease = queue.claim()
    trial = study.trial(lease.trial_id, 0)
    schedule = study.spec.search_space().suggest(trial, 100)
    trial.set_user_attr("schedule", schedule.to_dict())
    trial.set_user_attr("total_steps", 100)
    trial.report(0.5, 2)
    study.optuna.tell(0, 0.5, TrialState.COMPLETE)
    return study


def test_commands_that_are_printed_can_be_pasted(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/{SHELL}.db"
    storage = open_storage(url)
    make(storage, trials=1, name="other")
    study = finished(storage, SHELL)
    print_result(study, url)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("lrsearch ")]
    assert len(commands) >= 3
    for words in commands:
        assert words[words.index("--study") + 1] == SHELL
        assert words[words.index("--storage") + 1] == url
        assert ";" not in words


def test_what_is_stored_is_shown_as_text(tmp_path, capsys, monkeypatch):
    """Also names from before they were checked."""
    monkeypatch.setattr("lrsearch.study.create.check_task", lambda *_: None)
    for name in (MARKUP, TERMINAL):
        study = finished(open_storage(f"sqlite:///{tmp_path}/study.db"), name)
        with LiveView(study):
            pass
        print_status(read_status(study), find_answer(study))
    out = capsys.readouterr().out
    assert MARKUP in out
    assert "\\x1b[2J" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def nested(levels):
    return "[" * levels + "]" * levels


def test_what_is_nested_too_deeply_is_named(tmp_path, monkeypatch, capsys):
    path = tmp_path / "schedule.json"
    path.write_text(nested(100_000))
    with pytest.raises(ScheduleError, match="nested too deeply"):
        load_schedule(path)
    study = tmp_path / "study.toml"
    study.write_text(f"[study]\nname = {nested(100_000)}\n")
    with pytest.raises(SpecError, match="nested too deeply"):
        StudySpec.from_toml(study)

    make(open_storage(f"sqlite:///{tmp_path}/study.db"), trials=1)
    with closing(sqlite3.connect(tmp_path / "study.db")) as plain:
        where = "WHERE key = 'lrsearch:spec'"
        plain.execute(f"UPDATE study_user_attributes SET value_json = ? {where}", [nested(100_000)])
        plain.execute("DELETE FROM lrsearch_seals")  # by somebody who knows of them
        plain.commit()
    url = f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr("sys.argv", ["lrsearch", "status", "--storage", url])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "nested too deeply" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["os:system", "subprocess:run", "builtins:eval", "json:load"])
def test_what_comes_with_python_is_no_task(run, tmp_path):
    with pytest.raises(TaskError, match="comes with Python"):
        load_task(run, {})


def test_what_comes_with_python_is_no_task_under_another_name(tmp_path, monkeypatch):
    (tmp_path / "mine_with_os.py").write_text("import os\nfrom shutil import rmtree\n")
    monkeypatch.syspath_prepend(tmp_path)
    for run in ("mine_with_os:os.system", "mine_with_os:rmtree"):
        with pytest.raises(TaskError, match="comes with Python"):
            load_task(run, {})


@pytest.fixture
def port():
    """A server that answers as the dashboard does, for `named` besides loopback."""

    def app(environ, start_response):
        start_response("204 No Content", [])
        return [b""]

    with make_server("127.0.0.1", 0, only_as({*LOOPBACK, "named"}, app)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 204),
        ("localhost:8080", 204),
        ("LOCALHOST", 204),
        ("[::1]:8080", 204),
        ("named:80", 204),
        ("evil.example.com", 403),
        ("evil.example.com:8080", 403),
        ("127.0.0.1.evil.example.com", 403),
        ("", 403),
    ],
)
def test_the_dashboard_answers_to_its_own_names_alone(port, host, status):
    url = f"http://127.0.0.1:{port}/api/studies/1"
    request = urllib.request.Request(url, headers={"Host": host}, method="DELETE")
    if status == 204:
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 204
    else:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
