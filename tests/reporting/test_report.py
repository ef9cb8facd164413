"""The report: complete, self-contained, small, and nothing in it is taken for more than text."""

import json
import re
import subprocess
import sys
import tomllib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from optuna.trial import create_trial
from sqlalchemy import make_url

from lrsearch import LrsearchError, StudySpec, cli, open_storage, open_study
from lrsearch.reporting import FIGURES, REPORT_FORMATS, make_report
from lrsearch.reporting.figures import files
from lrsearch.study import Study
from reporting.synthetic import synthetic_study

SCRIPT = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Collects a page's elements, and the text of those that are no script or style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Study:
    """A study that has HTML wherever a person can write."""
    url = f"sqlite:///{tmp_path_factory.mktemp('named')}/study.db"
    return synthetic_study(url, 60, name=SCRIPT, metric=SCRIPT, worker=SCRIPT)


@pytest.fixture(scope="module")
def page(named, tmp_path_factory) -> str:
    """The report of that study."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    REPORT_FORMATS["html"](make_report(named), path)
    assert path.stat().st_size < 6e6
    return path.read_text()


def test_the_page_asks_for_nothing_else(page):
    elements = Elements(page)
    for tag, attributes in elements.found:
        assert tag not in ("link", "iframe", "img", "object"), tag
        assert "src" not in attributes, tag
        assert "href" not in attributes, tag
    policy = next(a["content"] for t, a in elements.found if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_nothing_that_people_wrote_becomes_an_element(page):
    scripts = [tag for tag, _ in Elements(page).found if tag == "script"]
    plotly_the_tables_and_one_per_figure = 2 + len(FIGURES)
    assert len(scripts) == plotly_the_tables_and_one_per_figure
    assert SCRIPT not in page
    assert SCRIPT in Elements(page).text


def test_the_page_has_every_figure_and_section(page):
    ids = [attributes.get("id") for tag, attributes in Elements(page).found if tag == "figure"]
    assert ids == list(FIGURES)
    headings = re.findall("<h2>(.*)</h2>", page)
    assert headings == [
        "The whole winner",
        "Best schedules",
        "Figures",
        "What was trained, pruned and saved",
        "All trials",
        "Study file",
        "Again",
        "Where it comes from",
    ]


def test_the_study_file_in_the_page_makes_the_same_study(page, named):
    texts = [unescape(text) for text in re.findall("<pre>(.*?)</pre>", page, re.DOTALL)]
    spec = StudySpec.from_dict(tomllib.loads(texts[0]))
    assert spec == named.spec
    assert "--study '<script>alert(1)</script>'" in texts[1]  # quoted for a shell


def test_a_password_is_not_in_the_report(tmp_path, monkeypatch):
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 3)
    secret = make_url("postgresql+psycopg://me:secret@host/studies")
    monkeypatch.setattr(study.storage.engine, "url", secret)
    report = make_report(study)
    assert "secret" not in str(report)
    assert "***" in report.section("Again").code


def test_what_pruning_saved_is_counted(tmp_path):
    study = synthetic_study(
        f"sqlite:///{tmp_path}/study.db", 4, outcomes=["complete", "pruned", "pruned", "diverged"]
    )
    spent = make_report(study).section("What was trained, pruned and saved")
    (table,) = spent.tables
    # of five epochs the pruned ones trained two and three, the diverged one
    assert dict(zip(table.head, table.rows[-1], strict=True)) == {
        "family": "all",
        "best": f"{study.best().final_value:.4f}",
        "complete": "1",
        "pruned": "2",
        "failed to train": "0",
        "diverged": "1",
        "failed": "0",
        "epochs": "11",
        "epochs saved": "5",
    }
    assert "11 epochs trained, 5 saved by pruning" in spent.lines[0]


@pytest.mark.parametrize("outcomes", [["diverged"], ["pruned"], ["failed"]])
def test_a_study_without_a_complete_trial_has_a_report(tmp_path, outcomes):
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 5, outcomes=outcomes)
    REPORT_FORMATS["html"](make_report(study), tmp_path / "report.html")
    text = Elements((tmp_path / "report.html").read_text()).text
    said = "No trial is complete, so there is no best schedule."
    if outcomes == ["pruned"]:  # the best of the short runs is all that is known
        said = "of 5 epochs on one seed only. That is on the validation data that chose it"
    assert said in text


def test_markdown_holds_the_same_and_its_pictures(tmp_path, monkeypatch):
    drawn: list[Path] = []
    monkeypatch.setattr(files, "write_images", lambda figures, paths, **_: drawn.extend(paths))
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 20, name=SCRIPT, metric="a|b_*c*")
    REPORT_FORMATS["md"](make_report(study), tmp_path / "pull.md")
    text = (tmp_path / "pull.md").read_text()
    assert [path.name for path in drawn] == [f"{name}.png" for name in FIGURES]
    assert all(f"(<pull_files/{name}.png>)" in text for name in FIGURES)
    outside_code = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not [line for line in outside_code if "<script" in line]
    assert r"a\|b\_\*c\*" in text
    table = [line for line in outside_code if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 8, 9, 10) for line in table)


def test_pictures_show_all_since_nobody_can_zoom_out_of_them(tmp_path):
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 80)

    def lowest(*, still: bool) -> float:
        figures = make_report(study, still=still).figures
        assert ("double-click" in str(figures["by_family"].layout)) == (not still)
        return min(figures["by_family"].layout.xaxis.range)

    worst = min(record.value for record in study.records() if record.value is not None)
    assert lowest(still=True) < worst < lowest(still=False)


def test_pictures_without_a_browser_end_in_one_message(tmp_path, monkeypatch):
    from choreographer.errors import ChromeNotFoundError

    def no_browser(*_: object, **__: object) -> None:
        raise ChromeNotFoundError

    monkeypatch.setattr(files, "write_images", no_browser)
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 2)
    with pytest.raises(LrsearchError, match="need Chrome or Chromium, and none was found"):
        REPORT_FORMATS["md"](make_report(study), tmp_path / "report.md")


def test_a_report_loads_no_torch(finished_study, tmp_path):
    code = (
        "import sys\n"
        "from lrsearch.cli import app\n"
        f"try: app(['report', '-o', {str(tmp_path / 'r.html')!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    env = {"LRSEARCH_STORAGE": finished_study, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"written: {tmp_path}/r.html\n"
    best = open_study(open_storage(finished_study)).best()
    page = (tmp_path / "r.html").read_text()
    assert f"trial {best.number}" in Elements(page).text
    assert json.dumps("val_accuracy") in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "htlm", "-o", "r.html"], "--format is 'htlm'; did you mean 'html'?"),
        (["-o", "/nowhere/r.html"], "cannot write /nowhere/r.html"),
        (["--format", "md", "-o", "/nowhere/r.md"], "cannot write /nowhere/r.md"),
        (["--study", "smal", "-o", "r.html"], "no study 'smal'; its studies: small"),
    ],
    ids=" ".join,
)
def test_a_report_that_cannot_be_ends_in_one_message(
    finished_study, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRSEARCH_STORAGE", finished_study)
    monkeypatch.setattr(sys, "argv", ["lrsearch", "report", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_was_unstable_but_recovered_is_named(tmp_path):
    study = synthetic_study(f"sqlite:///{tmp_path}/study.db", 3, outcomes=["complete"])

    def said() -> str:
        return make_report(study).section("What was trained, pruned and saved").lines[0]

    assert "Unstable" not in said()
    kept = {"loss_jump": 0.9, "loss_jump_step": 7, "grad_norm": 3.0, "loss": 0.5}
    attributes = study.optuna.trials[0].user_attrs | {"stability": kept}
    study.optuna.add_trial(create_trial(value=0.5, user_attrs=attributes))
    assert "Unstable but recovered: trials 3." in said()
