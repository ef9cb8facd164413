"""The map of the package: imports point downward; what must answer at once loads little."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrsearch

PACKAGE = Path(lrsearch.__file__).parent

FLOORS = {
    "errors": 0,
    "displays": 0,
    "schedules": 1,
    "storage": 1,
    "search": 2,
    "tasks": 2,
    "integrations": 3,
    "study": 3,
    "worker": 4,
    "diagnosis": 5,
    "cluster": 5,
    "evaluation": 5,
    "export": 5,
    "tracking": 5,
    "reporting": 6,
    "api": 7,
    "cli": 7,
}
ENTRANCES = {"__init__", "__main__"}
"""Modules of the package itself: what users import, which stands above all."""


def name_of(path: Path) -> str:
    """Return the module that a file is: a package's `__init__` is the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a file imports, wherever in it that stands: (module, name)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path} has a relative import"
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""


def own_imports(path: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports; `from package import module` too."""
    for module, name in imports(path):
        if module == "lrsearch" or module.startswith("lrsearch."):
            inner = f"{module}.{name}"
            yield inner if inner in MODULES else module


def test_every_module_has_a_floor():
    assert {package_of(name) for name in MODULES} - ENTRANCES == set(FLOORS)


def test_imports_point_strictly_downward():
    wrong = [
        f"{name} ({FLOORS[package_of(name)]}) imports {other} ({FLOORS[package_of(other)]})"
        for name, path in MODULES.items()
        if package_of(name) in FLOORS
        for other in own_imports(path)
        if package_of(other) != package_of(name)
        and FLOORS[package_of(other)] >= FLOORS[package_of(name)]
    ]
    assert not wrong


def test_other_packages_use_what_a_package_shows():
    """Users name two modules inside one, in study files: those and packs are shown as they are."""
    shown = {"lrsearch.tasks.packs"}
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in own_imports(path)
        if package_of(other) not in (package_of(name), "__init__") and other.count(".") > 1
        if other not in shown
    ]
    assert not wrong


def test_no_imports_go_in_a_circle():
    graph = {
        name: {other for other in own_imports(path) if other != name}
        for name, path in MODULES.items()
    }
    # a package's `__init__` gathers its modules, which never import it
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    ("what", "home"),
    [
        (r"optuna\.(storages\._|study\._|_)", "lrsearch.storage.optuna_private"),
        (r"optuna_dashboard\._", "lrsearch.storage.optuna_private"),
        (r"sqlalchemy", "lrsearch.storage"),
        (r"sqlite3|psycopg", "lrsearch.storage"),
    ],
)
def test_what_one_place_knows_is_imported_there_alone(what, home):
    wrong = [
        f"{name} imports {module}"
        for name, path in MODULES.items()
        if not f"{name}.".startswith(f"{home}.")
        for module, inner in imports(path)
        if re.match(what, f"{module}.{inner}")
    ]
    assert not wrong


def test_private_names_of_others_stand_in_one_module():
    """`_trial_id`, `_storage` and the like, of what is not our own `self`."""
    private = {"_study_id", "_trial_id", "_storage", "_system_attrs", "_user_attrs", "_step_count"}
    wrong = [
        f"{name}: .{node.attr}"
        for name, path in MODULES.items()
        if name not in ("lrsearch.storage.optuna_private",)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in private
    ]
    assert not wrong


def test_sql_stands_in_the_storage():
    """No statement is built elsewhere, and none is written out as text."""
    written = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (TABLE|INDEX)) ")
    wrong = [
        f"{name}: {node.value[:60]!r}"
        for name, path in MODULES.items()
        if package_of(name) != "storage"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if written.search(node.value)
    ]
    assert not wrong


def test_public_names():
    assert lrsearch.__all__ == [
        "LrsearchError",
        "Progress",
        "RatesFirstSampler",
        "Schedule",
        "Search",
        "SearchSpace",
        "StudySpec",
        "Task",
        "Warmup",
        "create_study",
        "families",
        "load_schedule",
        "open_storage",
        "open_study",
        "optimize",
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
def test_reading_commands_load_nothing_heavy(command, finished_study):
    code = (
        "import sys, lrsearch\n"
        "from lrsearch.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'plotly', 'scipy', 'pandas', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, f'{heavy} were loaded'\n"
    )
    env = {"LRSEARCH_STORAGE": finished_study, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_importing_lrsearch_loads_no_torch_and_no_optuna():
    code = "import sys, lrsearch; lrsearch.Schedule; print({'torch', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
