"""The table of what is held by which test: every command and every test in it exists."""

import re
from pathlib import Path

import pytest
import typer.main

from lrsearch.cli import app

HERE = Path(__file__).parent
ROWS = re.findall(
    r"^\| (.+?) \| `lrsearch (.+?)` \| `tests/(.+?)::(.+?)` \|$",
    (HERE / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_is_read_whole():
    lines = (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(ROWS) == sum(line.startswith("| ") for line in lines) - 1 > 10


@pytest.mark.parametrize(("what", "command", "file", "test"), ROWS, ids=[row[3] for row in ROWS])
def test_its_command_and_its_test_exist(what, command, file, test):
    name, *arguments = command.split()
    commands = typer.main.get_command(app).commands
    assert name in commands
    options = {option for parameter in commands[name].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert all((HERE.parent / a).exists() for a in arguments if a.startswith("studies/"))
    assert f"def {test}(" in (HERE / file).read_text(encoding="utf-8")
