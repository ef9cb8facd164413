"""The README is true: its study files are valid, its examples run."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lrsearch import StudySpec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_annotated_study_file_is_valid_and_names_every_section():
    path = ROOT / "studies" / "annotated.toml"
    assert f"(studies/{path.name})" in README
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    alone = {"confirm"}  # it does not go with a search
    assert set(given) | alone == set(StudySpec.model_fields)
    assert "`[confirm]`" in README
    assert StudySpec.from_dict(given).study.trials == 60


def test_the_first_study_file_is_valid():
    text, *_ = blocks("toml")
    assert StudySpec.from_dict(tomllib.loads(text)).study.trials == 60


def test_the_schedule_example_gives_what_its_comments_say():
    (code,) = (block for block in blocks("python") if "Warmup(" in block)
    names: dict = {}
    exec(code, names)
    schedule = names["schedule"]
    assert schedule.lr(step=0, total_steps=1000) == pytest.approx(0.002)
    assert schedule.curve(1000).shape == (1000,)
    assert schedule.momentum(0, 1000) is None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lines"), [("spirals", 25), ("ridge", 40)])
def test_a_task_of_ones_own_runs(name, lines, tmp_path):
    marker = "def spirals" if name == "spirals" else "class Ridge"
    (code,) = (block for block in blocks("python") if marker in block)
    assert len(code.splitlines()) < lines
    (study,) = (block for block in blocks("toml") if f'run = "{name}:' in block)
    (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / f"{name}.toml").write_text(study)

    def lrsearch(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lrsearch", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=1800,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "10/10 finished" in lrsearch("launch", f"{name}.toml")
    best = json.loads(lrsearch("export"))
    assert best["value"] > 0.8 if name == "spirals" else best["value"] < 0.05


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^    (pip install .* && pytest.*)$", README, re.MULTILINE)
    assert "[test]" in command
