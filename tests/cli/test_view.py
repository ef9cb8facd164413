"""The live screen: what a person sees of a search while it runs."""

import math
import re
import sys
from collections.abc import Callable

import pytest

from lrsearch import Progress, StudySpec, cli, create_study, open_storage
from lrsearch.cli.view import LiveView
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
