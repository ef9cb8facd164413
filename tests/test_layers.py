"""The house: imports point strictly downward; what must answer at once loads no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch

PACKAGE = Path(lrsearch.__file__).parent

FLOORS = {
    "errors": 0,
    "domains": 1,
    "statistics": 1,
    "schedules": 2,
    "integrations": 3,
    "storage": 2,
    "checkpoints": 2,
    "choosing": 2,
    "horizons": 2,
    "devices": 2,
    "space": 3,
    "tasks": 3,
    "spec": 4,
    "identity": 4,
    "finder": 4,
    "study": 5,
    "stability": 5,
    "objective": 6,
    "status": 6,
    "confirm": 6,
    "compare": 7,
    "train": 6,
    "prepare": 6,
    "worker": 7,
    "launch": 8,
    "figures": 9,
    "export": 9,
    "summary": 10,
    "report": 11,
    "dashboard": 11,
    "cli": 12,
}


def room(module: str) -> str:
    return module.removeprefix("lrsearch.").split(".")[0]


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {room(name) for name in names if name.startswith("lrsearch.")}


def test_imports_point_strictly_downward():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        own = room(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        if own in ("__init__", "__main__"):
            continue
        wrong += [
            f"{path.relative_to(PACKAGE)} ({FLOORS[own]}) imports {other} ({FLOORS[other]})"
            for other in imported_rooms(path) - {own}
            if FLOORS[other] >= FLOORS[own]
        ]
    assert not wrong


def test_public_names():
    assert lrsearch.__all__ == [
        "LrsearchError",
        "Progress",
        "Schedule",
        "SearchSpace",
        "StudySpec",
        "Task",
        "Warmup",
        "create_study",
        "families",
        "load_schedule",
        "open_storage",
        "open_study",
        "suggest_schedule",
    ]
    for name in lrsearch.__all__:
        assert getattr(lrsearch, name).__doc__ or name == "families"
    assert not hasattr(lrsearch, "no_such_name")


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["launch", "--help"],
        ["schedules"],
        ["status", "--json"],
        ["status"],
        ["export", "--format", "json"],
        ["export", "--format", "csv"],
    ],
    ids=" ".join,
)
def test_reading_commands_load_no_torch(command, finished_study):
    code = (
        "import sys, lrsearch\n"
        "from lrsearch.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    env = {"LRSEARCH_STORAGE": finished_study, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_importing_lrsearch_loads_no_torch_and_no_optuna():
    code = "import sys, lrsearch; lrsearch.Schedule; print({'torch', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
