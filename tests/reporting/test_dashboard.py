"""What the dashboard shows: our figures and note with the study, pictures of trials on demand."""

import io
import json
import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import optuna
import pytest
from optuna_dashboard import wsgi

from lrsearch import open_storage, open_study
from lrsearch.reporting import FIGURES, read_data, refresh
from lrsearch.reporting.dashboard.server import _keep_fresh, dashboard_of
from lrsearch.reporting.dashboard.study_page import _ITS_OWN, _YOURS
from lrsearch.reporting.dashboard.trial_pages import Artifacts, TrialPages
from lrsearch.storage import read_note, trial_id_of
from lrsearch.study import Study
from reporting.synthetic import OUTCOMES, synthetic_study

SCRIPT = "<script>alert(1)</script>"
SERVER = "lrsearch.reporting.dashboard.server"


@pytest.fixture
def study(tmp_path) -> Study:
    return synthetic_study(f"sqlite:///{tmp_path}/study.db", 2 * len(OUTCOMES))


def get(study: Study, path: str) -> tuple[str, bytes]:
    """Ask the dashboard as the browser would; return the status and the body."""
    return ask(dashboard_of(study.storage), path)


def ask(app: Any, path: str, query: str = "") -> tuple[str, bytes]:
    status = ""

    def start(line: str, *_: object) -> None:
        nonlocal status
        status = line

    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body = b"".join(app(environment, start))
    return status, body


def detail(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(study, f"/api/studies/{study.study_id}")[1])
    return found


def test_the_study_page_has_our_figures_and_note(study):
    refresh(study)
    page = detail(study)
    plots = {plot["id"]: json.loads(plot["graph_object"]) for plot in page["plotly_graph_objects"]}
    assert set(plots) == {f"lrsearch:{name}" for name in FIGURES if name not in _ITS_OWN}
    assert all(plot["data"] for plot in plots.values())
    note = page["note"]["body"]
    assert f"--study {study.name} -o best.json" in note
    assert "    [study]\n" in note
    assert str(study.best().number) in note


def test_each_figure_is_one_attribute(study):
    """So that a poll sees a whole figure, and has little to look through."""
    refresh(study)
    stored = study.storage.get_study_system_attrs(study.study_id)
    plots = [key for key in stored if key.startswith("dashboard:plot_data:")]
    assert len(plots) == len(FIGURES) - len(_ITS_OWN)


def test_refreshing_a_study_that_stands_still_writes_nothing(study):
    refresh(study)
    before = study.storage.get_study_system_attrs(study.study_id)
    refresh(open_study(open_storage(str(study.storage.engine.url))))
    assert study.storage.get_study_system_attrs(study.study_id) == before


def test_what_a_person_wrote_into_the_note_stays(study):
    from optuna_dashboard import save_note

    save_note(study.optuna, "mine, from before")
    refresh(study)
    save_note(study.optuna, read_note(study.optuna) + "\nand mine, from after")
    study.optuna.add_trial(study.optuna.get_trials()[0])
    refresh(study)
    note = read_note(study.optuna)
    assert note.count(_YOURS) == 1
    assert note.endswith("mine, from before\nand mine, from after")


def test_a_figure_that_the_layout_drops_is_emptied(study, tmp_path, monkeypatch):
    refresh(study)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards" / "layout.toml").write_text('figures = ["winners"]')
    refresh(study)
    plots = {p["id"]: json.loads(p["graph_object"]) for p in detail(study)["plotly_graph_objects"]}
    assert [name for name, plot in plots.items() if plot["data"]] == ["lrsearch:winners"]


def test_a_study_is_answered_as_by_optuna_dashboard_alone(study):
    """Made once for each trial that has ended, but what has come since is shown at once."""
    from optuna_dashboard import save_note

    refresh(study)
    odd = optuna.load_study(study_name=study.name, storage=study.storage)
    odd.enqueue_trial({"base_lr": 0.5}, user_attrs={"mine": 1.5})
    odd.ask().report(math.nan, 1)
    odd.add_trial(odd.get_trials()[0])
    infinite = odd.ask({"other": optuna.distributions.CategoricalDistribution([None, True, "ü"])})
    infinite.set_user_attr("long", ["<x>"] * 999)
    infinite.set_constraint("diverged", 1.0)
    infinite.report(-math.inf, 2)
    infinite.report(math.inf, 1)
    odd.tell(infinite, math.inf)
    optuna.create_study(storage=study.storage, directions=["minimize", "maximize"])

    def alone() -> Any:
        pages = TrialPages(study.storage.engine.url)
        return wsgi(pages, artifact_store=Artifacts(pages, study.storage.files / "artifacts"))

    def in_order(body: bytes) -> Any:
        """Return an answer with those of its lists sorted that optuna-dashboard makes of sets."""
        found = json.loads(body)
        for domain in found.get("union_search_space", ()):
            domain["distribution"].get("choices", []).sort(key=str)
        found.get("union_user_attrs", []).sort(key=str)
        return found

    app = dashboard_of(study.storage)
    asked = [(1, ""), (1, "after=5"), (1, "after=99"), (1, "after=-1"), (2, ""), (9, "")]
    for study_id, query in asked:
        ours, theirs = (ask(each, f"/api/studies/{study_id}", query) for each in (app, alone()))
        assert ours[0] == theirs[0]
        assert in_order(ours[1]) == in_order(theirs[1])
    ended = optuna.Trial(odd, trial_id_of(odd.get_trials()[2]))
    save_note(ended, "a note on a trial that has ended")
    optuna.artifacts.upload_artifact(
        artifact_store=Artifacts(TrialPages(study.storage.engine.url), study.storage.files),
        file_path=__file__,
        study_or_trial=odd,
    )
    ours, theirs = (ask(each, "/api/studies/1") for each in (app, alone()))
    assert in_order(ours[1]) == in_order(theirs[1])


def test_every_trial_has_its_picture_and_its_epochs(study):
    before = study.storage.get_study_system_attrs(study.study_id)
    for trial, listed in zip(study.optuna.trials, detail(study)["trials"], strict=True):
        files = {artifact["filename"]: artifact for artifact in listed["artifacts"]}
        assert set(files) == {"learning-rate.svg", "epochs.csv"}
        where = f"/artifacts/{study.study_id}/{trial_id_of(trial)}"
        status, picture = get(study, f"{where}/{files['learning-rate.svg']['artifact_id']}")
        assert status.startswith("200")
        drawing = ElementTree.fromstring(picture)
        assert ("diverged" in "".join(drawing.itertext())) == ("diverged" in trial.user_attrs)
        assert len(picture) < 8000
        lines = get(study, f"{where}/{files['epochs.csv']['artifact_id']}")[1].decode().splitlines()
        assert len(lines) == 1 + sum(
            len(t.epochs) for t in read_data(study).trials if t.number == trial.number
        )
    assert study.storage.get_study_system_attrs(study.study_id) == before  # nothing is stored


def test_uploaded_artifacts_are_still_there(study):
    storage = TrialPages(study.storage.engine.url)
    artifacts = Artifacts(storage, study.storage.files / "artifacts")
    key = "00000000-0000-4000-8000-000000000001"
    artifacts.write(key, io.BytesIO(b"mine"))
    with artifacts.open_reader(key) as file:
        assert file.read() == b"mine"
    artifacts.remove("1-0")  # ours: there is nothing to remove
    artifacts.remove(key)
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        artifacts.open_reader(key)


def test_names_with_html_stay_text(tmp_path):
    study = synthetic_study(
        f"sqlite:///{tmp_path}/study.db", 10, name=SCRIPT, metric=SCRIPT, worker=SCRIPT
    )
    refresh(study)
    note = read_note(study.optuna)
    outside_code = [line for line in note.splitlines() if not line.startswith("    ")]
    assert not [line for line in outside_code if "<script" in line]
    for trial in detail(study)["trials"]:
        picture = trial["artifacts"][0]["artifact_id"]
        where = f"/artifacts/{study.study_id}/{trial['trial_id']}/{picture}"
        ElementTree.fromstring(get(study, where)[1])


@pytest.mark.parametrize(("trials", "outcomes"), [(0, OUTCOMES), (3, ["diverged"])])
def test_a_study_without_a_complete_trial_has_a_page(tmp_path, trials, outcomes):
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", trials, outcomes=outcomes)
    refresh(study)
    assert "None is complete yet." in detail(study)["note"]["body"]


def test_the_page_follows_the_trials_and_rests_in_between(study, monkeypatch):
    """It is drawn anew when a trial has finished, at most a tenth of the time."""
    drawn, pauses, time_of_day = [], [], [0.0]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            study.optuna.add_trial(study.optuna.get_trials()[0])
        if len(pauses) == 5:
            raise KeyboardInterrupt

    def slow(_: Study) -> None:
        drawn.append(len(pauses))
        time_of_day[0] += 60.0

    monkeypatch.setattr(f"{SERVER}.time.sleep", sleep)
    monkeypatch.setattr(f"{SERVER}.time.monotonic", lambda: time_of_day[0])
    monkeypatch.setattr(f"{SERVER}.refresh", slow)
    with pytest.raises(KeyboardInterrupt):
        _keep_fresh(study)
    assert drawn == [2]
    assert pauses[:2] == [30.0, 30.0]
    assert all(math.isclose(pause, 600.0) for pause in pauses[2:])


def test_a_failing_figure_does_not_end_the_following(study, monkeypatch, caplog):
    calls = []

    def sleep(_: float) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        study.optuna.add_trial(study.optuna.get_trials()[0])

    def failing(_: Study) -> None:
        calls.append(1)
        raise OSError("the disk is full")

    monkeypatch.setattr(f"{SERVER}.time.sleep", sleep)
    monkeypatch.setattr(f"{SERVER}.refresh", failing)
    with pytest.raises(KeyboardInterrupt):
        _keep_fresh(study)
    assert "the disk is full" in caplog.text
