"""The record of learning curves is whole, and searching in it is a real search."""

import numpy as np
import pytest

from lrsearch.schedules import families
from tests.benchmarks.replay import FOLDER, RULES, read

NAMES = sorted(path.stem for path in FOLDER.glob("*.csv"))


def test_the_record_has_all_families_on_every_horizon_and_further_seeds():
    record = read("momentum")
    assert len(record.schedules) >= 150
    assert {schedule.family.name for schedule in record.schedules.values()} == set(families)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    for (_, _, horizon), curve in record.curves.items():
        assert len(curve) <= horizon
        assert len(curve) == horizon or np.isnan(curve[-1])
    seeds = {seed for _, seed, _ in record.curves}
    assert seeds == {0, 1, 2}
    better = sorted(record.schedules, key=lambda t: -np.nan_to_num(record.curve(t, 0, 6)[-1]))
    assert all((t, 1, 6) in record.curves for t in better[: len(better) // 2])


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_prunes_nothing_pays_for_all_and_keeps_the_best(name):
    record = read(name)
    outcome = RULES["none"](name, 0)
    trained = sum(len(record.curve(trial, 0, record.epochs)) for trial in record.schedules)
    assert outcome.cost == trained / (len(record.schedules) * record.epochs)
    assert outcome.best_kept
    assert outcome.regret >= 0


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_costs_less_and_repeats_itself(rule):
    outcome, again = (RULES[rule]("momentum", 7) for _ in range(2))
    assert outcome == again
    assert 0 < outcome.cost <= 1
    if rule != "none":
        assert outcome.cost < 0.8
