"""Families compared: searched alike, the best of each confirmed on the same seeds."""

import math

import pytest

from lrsearch import Progress, StudySpec, create_study, open_storage
from lrsearch.errors import ScheduleError, StudyError
from lrsearch.evaluation import comparison_spec, family_specs, read_comparison
from lrsearch.reporting import comparison_page
from lrsearch.storage import NoTrialReason
from lrsearch.worker import work

SPEC = {
    "study": {"name": "families", "trials": 6},
    "task": {"run": f"{__name__}:Plain"},
    "space": {
        "families": ["constant", "cosine", "step"],
        "base_lr": {"low": 0.01, "high": 1.0},
        "step.drop_factor": 0.5,
    },
    "pruning": {"kind": "none"},
    "schedules": [{"schedule": "linear", "base_lr": 0.1}],
}


class Plain:
    """Cosine is best, and constant diverges above 0.3."""

    epochs = 4
    steps_per_epoch = 50
    metric_names = ("val_accuracy",)

    def run(self, schedule, *, epochs, seed, device, state=None):
        bonus = {"cosine": 0.05, "step": 0.02}.get(schedule.family.name, 0.0)
        best = 0.8 + bonus - 0.01 * abs(math.log10(schedule.base_lr / 0.1)) + 0.001 * seed
        for epoch in range(1, epochs + 1):
            value = best * (1 - 0.5**epoch) if epoch < 3 else best
            if schedule.family.name == "constant" and schedule.base_lr > 0.3:
                value = math.nan
            yield Progress(epoch, {"val_accuracy": value})


def test_each_family_has_a_search_of_its_own_alike_in_all_else():
    spec = StudySpec.from_dict(SPEC)
    specs = family_specs(spec)
    assert list(specs) == ["constant", "cosine", "step"]
    for name, each in specs.items():
        assert each.space["families"] == [name]
        assert ("step.drop_factor" in each.space) == (name == "step")
        assert each.space["base_lr"] == spec.space["base_lr"]
        assert each.study.trials == spec.study.trials
        assert each.schedules == []
    assert list(family_specs(spec, ["noam", "wsd"])) == ["noam", "wsd"]
    with pytest.raises(StudyError, match="at least two"):
        family_specs(spec, ["noam"])
    with pytest.raises(ScheduleError, match="did you mean 'noam'"):
        family_specs(spec, ["noan", "wsd"])


def test_families_are_judged_by_their_best_on_fresh_seeds(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    spec = StudySpec.from_dict(SPEC)
    storage = open_storage(url)
    searches = {n: create_study(storage, s, Plain()) for n, s in family_specs(spec).items()}
    with pytest.raises(StudyError, match="fewer than two have a complete trial"):
        comparison_spec(spec, searches, 3)
    for study in searches.values():
        assert work(url, study.name, "cpu") is NoTrialReason.DONE
    confirming = create_study(storage, comparison_spec(spec, searches, 3), Plain())
    work(url, confirming.name, "cpu")
    found, results = read_comparison(confirming, searches)
    assert [result.family for result in results] == ["cosine", "step", "constant"]
    assert found.winner.name == "cosine"
    for result in results:
        search = searches[result.family]
        best = search.optuna.best_trial
        assert result.params == best.params
        assert result.entry.schedule.to_dict() == best.user_attrs["schedule"]
        assert sorted(result.entry.values) == [1, 2, 3]
        assert result.epochs == 3.0
        lrs = [
            t.user_attrs["schedule"]["base_lr"]
            for t in search.optuna.trials
            if t.value is not None and best.value - t.value <= 0.005
        ]
        assert result.decades == pytest.approx(math.log10(max(lrs) / min(lrs)))
        infeasible = [bool(t.constraints) for t in search.optuna.trials]
        assert result.infeasible == sum(infeasible) / 6
    page = comparison_page("families", found, results)
    names = {name for trace in page.figures["confirmed"].data for name in trace.y}
    assert names == {"cosine", "step", "constant"}
    (table,) = page.section("How each family was to search").tables
    assert [row[0] for row in table.rows] == [result.family for result in results]
