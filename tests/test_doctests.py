"""The examples in the docstrings are true."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import lrsearch

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lrsearch.__path__, "lrsearch.")
    if not module.name.endswith("__main__")  # it runs the command line
)
LEAST_EXAMPLES = 50


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    failed, _ = doctest.testmod(import_module(name))
    assert not failed, "see the captured output"


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(import_module(name), name)]
    assert sum(bool(test.examples) for test in found) >= LEAST_EXAMPLES
