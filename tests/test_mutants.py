"""The list of mutants does not rot: each replaces a text that is there once, and names tests."""

import ast
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT


def test_there_are_at_least_thirty_and_each_has_a_name_of_its_own():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_in_the_source_and_its_tests_exist(mutant):
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    assert source.count(mutant.text) == 1
    ast.parse(source.replace(mutant.text, mutant.other))
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name.partition("[")[0] in functions
    assert Path(mutant.path).suffix == ".py"
