"""The learning-rate finder: a first learning rate before any search."""

from lrsearch.finder.finding import Finding, find_lr
from lrsearch.finder.range_test import RangeTest, range_test, require_supervised
from lrsearch.finder.rules import RULES

__all__ = ["RULES", "Finding", "RangeTest", "find_lr", "range_test", "require_supervised"]
