"""The page on batch systems says what is so, and its manifest is one that Kubernetes takes."""

import re
from pathlib import Path

import kubernetes_validate
import yaml
from typer.testing import CliRunner

from lrsearch import worker
from lrsearch.cli import app

PAGE = (Path(__file__).parents[2] / ".github" / "BATCH_SYSTEMS.md").read_text(encoding="utf-8")
MANIFEST = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])


def test_kubernetes_takes_the_manifest():
    kubernetes_validate.validate(MANIFEST, kubernetes_validate.latest_version(), strict=True)


def test_its_worker_is_one_of_ours():
    container = MANIFEST["spec"]["template"]["spec"]["containers"][0]
    program, *command = container["command"]
    assert program == "lrsearch"
    help_of = CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).output
    assert all(option in help_of for option in command if option.startswith("--"))
    names = {variable["name"] for variable in container["env"]}
    assert names == {"LRSEARCH_STORAGE", "LRSEARCH_FILES", "PGPASSWORD"}
    rules = MANIFEST["spec"]["podFailurePolicy"]["rules"]
    (ends,) = [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"]
    assert ends == [1, worker.FAILING]


def test_the_commands_of_the_page_exist_with_their_options():
    lines = re.findall(r"^    (?:.* -- )?lrsearch (\w+)(.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) > 4
    for command, rest in lines:
        help_of = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in help_of for option in re.findall(r"--[\w-]+", rest))
