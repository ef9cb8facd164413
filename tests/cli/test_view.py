"""The live screen: what a person sees of a search while it runs."""

import math
import re
import shlex
import sys
from collections.abc import Callable

import pytest

from lrsearch import Progress, StudySpec, cli, create_study, open_storage
from lrsearch.cli.view import LiveView, print_result
from lrsearch.study import read_status, why_ended
from lrsearch.worker import work

RATES = [0.2, 0.5, 9.0, 0.1, 0.4]


class Peak:
    """A task whose value is best at a rate of 0.4, and that diverges above 1."""

    epochs = 2
    steps_per_epoch = 10

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            score = math.nan if schedule.base_lr > 1 else 1 - abs(schedule.base_lr - 0.4)
            yield Progress(epoch, {"score": score})


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of five constant rates, on a terminal that is wide enough."""
    monkeypatch.setenv("COLUMNS", "120")
    spec = StudySpec.from_dict(
        {
            "study": {"name": "peak", "trials": 2, "metric": "score", "direction": "maximize"},
            "task": {"run": f"{__name__}:Peak"},
            "pruning": {"kind": "none"},
            "schedules": [{"schedule": "constant", "base_lr": rate} for rate in RATES],
        }
    )
    return create_study(open_storage(f"sqlite:///{tmp_path}/study.db"), spec, Peak())


def trials(screen: str) -> dict[str, list[list[str]]]:
    """Return the rows below `best` and `last`, as they stand on a screen."""
    found: dict[str, list[list[str]]] = {"best": [], "last": []}
    rows = re.findall(
        r"^ *(best|last|) +(\d+) +(constant) +(\S+) +(\S+) +(complete|diverged) *$", screen, re.M
    )
    name = ""
    for first, *row in rows:
        name = first or name
        found[name].append(row)
    return found


def test_the_live_screen_shows_the_best_and_the_last_trials(study, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    url = str(study.storage.engine.url)

    def screen(view: LiveView) -> str:
        capsys.readouterr()
        view.show()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", capsys.readouterr().out)

    with LiveView(study) as view:
        assert trials(screen(view)) == {"best": [], "last": []}
        work(url, "peak", "cpu")
        first, second = (
            ["0", "constant", "0.2", "0.8", "complete"],
            ["1", "constant", "0.5", "0.9", "complete"],
        )
        assert trials(screen(view)) == {"best": [second, first], "last": [second, first]}
        study.set_target(5)
        work(url, "peak", "cpu")
        third, fourth = (
            ["2", "constant", "9", "-", "diverged"],
            ["3", "constant", "0.1", "0.7", "complete"],
        )
        fifth = ["4", "constant", "0.4", "1", "complete"]
        assert trials(screen(view)) == {
            "best": [fifth, second, first],
            "last": [fifth, fourth, third],
        }


def test_status_shows_them_too(study, monkeypatch, capsys):
    url = str(study.storage.engine.url)
    work(url, "peak", "cpu")
    monkeypatch.setattr(sys, "argv", ["lrsearch", "status", "--storage", url])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    shown = trials(capsys.readouterr().out)
    assert [row[0] for row in shown["best"]] == ["1", "0"]
    assert [row[0] for row in shown["last"]] == ["1", "0"]


@pytest.mark.parametrize(
    ("budgets", "why", "options"),
    [
        ({"trials": 2}, "2 of 2 trials have finished", "--trials 4"),
        ({"epochs": 5}, "1 of 5 epochs are left, and a full run takes 2", "--epochs 10"),
        ({"time": 1e-3}, "its time is up", "--time 1s"),
        ({"trials": 1, "epochs": 3}, "1 of 1 trials have finished; 1 of", "--trials 2 --epochs 6"),
    ],
)
def test_it_is_said_why_a_search_has_ended_and_what_lets_it_go_on(
    study, monkeypatch, capsys, budgets, why, options
):
    url = str(study.storage.engine.url)
    spec = study.spec.to_dict()
    spec["study"] |= {"name": "other", "trials": 9, **budgets}
    spec = StudySpec.from_dict(spec)
    other = create_study(study.storage, spec, Peak())
    work(url, "other", "cpu")
    print_result(other, url)
    out = capsys.readouterr().out
    assert f"The search ended: {why}" in out
    command = re.search(r"(lrsearch resume .*)\n +search on", out)[1]
    assert command.endswith(f"--study other {options}")
    monkeypatch.setattr(
        "lrsearch.worker.run_workers", lambda *_: work(url, "other", "cpu") is not None
    )
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    before = read_status(other).epochs
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert read_status(other).epochs > before


def test_where_no_budget_is_used_up_it_is_patience_or_a_stop(study, capsys):
    url = str(study.storage.engine.url)
    changed = study.spec.to_dict()
    changed["study"] |= {"name": "patient", "trials": 50, "patience": 2}
    changed["pruning"] = {"kind": "rungs", "horizons": [2], "seeds": 1}
    changed["schedules"] = [{"schedule": "constant", "base_lr": rate} for rate in RATES[::-1]]
    patient = create_study(study.storage, StudySpec.from_dict(changed), Peak())
    work(url, "patient", "cpu")
    print_result(patient, url)
    out = capsys.readouterr().out
    assert "The search ended: the last 2 trials brought nothing better" in out
    assert "lrsearch resume" not in out  # it would end at once
    study.set_stopping(True)
    assert why_ended(study) == ("its workers were told to leave", "")
    study.set_stopping(False)
    assert why_ended(study) == ("", "")


LOOK: list[Callable[[], None]] = []


class Within:
    """A task that says how its epochs went within, and shows the study after each."""

    epochs, steps_per_epoch = 3, 40

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            measured = [{"train_loss": 4.0 - part, "train_score": part} for part in range(4)]
            begun = 40 * (epoch - 1)
            curve = [(begun + 10 * (part + 1), each) for part, each in enumerate(measured)]
            yield Progress(epoch, {"val_score": 1.0}, curve=curve)
            LOOK[0]()


def test_a_running_trial_shows_train_loss_and_accuracy_several_times_an_epoch(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "150")
    spec = StudySpec.from_dict(
        {
            "study": {"name": "within", "trials": 1, "metric": "val_score"},
            "task": {"run": f"{__name__}:Within"},
            "pruning": {"kind": "none"},
        }
    )
    url = f"sqlite:///{tmp_path}/study.db"
    create_study(open_storage(url), spec, Within())
    monkeypatch.setattr(sys, "argv", ["lrsearch", "status", "--storage", url])
    screens = []

    def look():
        with pytest.raises(SystemExit):
            cli.main()
        screens.append(capsys.readouterr().out)

    monkeypatch.setattr(sys.modules[__name__], "LOOK", [look])
    work(url, "within", "cpu")
    first, second = screens
    assert re.search(r"train loss +train score *$", first, re.M)
    assert re.search(r" █▆▅▃ +▁▃▆█ *$", first, re.M)
    assert re.search(r" █▆▅▃█▆▅▃ +▁▃▆█▁▃▆█ *$", second, re.M)


def test_what_is_left_is_never_more_than_the_budget_of_time(tmp_path, monkeypatch, capsys):
    spec = StudySpec.from_dict(
        {
            "study": {"name": "within", "trials": 2, "metric": "val_score", "time": "40s"},
            "task": {"run": f"{__name__}:Within"},
            "pruning": {"kind": "none"},
        }
    )
    url = f"sqlite:///{tmp_path}/study.db"
    study = create_study(open_storage(url), spec, Within())
    with LiveView(study) as view:
        view.show()
        view.started -= 1000  # by the epochs so far many minutes are left
        monkeypatch.setattr(sys.modules[__name__], "LOOK", [view.show])
        work(url, "within", "cpu")
        study.set_target(100)
        study.set_limits(seconds=1e-3)
        work(url, "within", "cpu")  # from its first claim on
        view.show()
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("; its time is up")
    assert read_status(study).share == 1
    left = re.findall(r"about (\d+):(\d\d) left", out)
    assert left
    assert all(60 * int(minutes) + int(seconds) <= 40 for minutes, seconds in left)
