"""Confirmation: which schedules, on which seeds, what is said; nothing else reads the test set."""

import math

import numpy as np
import pytest
from optuna.trial import FixedTrial, TrialState

from lrsearch import Progress, StudySpec, create_study, open_storage, open_study
from lrsearch.errors import SpecError, StudyError, TaskError
from lrsearch.evaluation import confirmation_spec, read_confirmation, summarize
from lrsearch.storage import NoTrialReason, read_metrics
from lrsearch.tasks import load_task
from lrsearch.worker import work

TESTED = []


class Luck:
    """Its score is how near `base_lr` is to 0.1, and luck; rates over 5 diverge on odd seeds."""

    epochs = 4
    steps_per_epoch = 50
    metric_names = ("val_accuracy",)

    def __init__(self, luck: float = 0.01) -> None:
        self.luck = luck

    def run(self, schedule, *, epochs, seed, device, state=None):
        rng = np.random.default_rng([seed, round(schedule.base_lr * 1e6)])
        value = 0.9 - 0.1 * abs(math.log10(schedule.base_lr / 0.1))
        for epoch in range(1, epochs + 1):
            accuracy = value + self.luck * rng.normal()
            if schedule.base_lr > 5 and seed % 2:
                accuracy = math.nan
            yield Progress(epoch, {"val_accuracy": accuracy}, test=lambda: self.test(value, rng))

    def test(self, value, rng):
        TESTED.append(value)
        return {"test_accuracy": value + self.luck * rng.normal()}


def search(url, trials=24, run=f"{__name__}:Luck", **sections):
    spec = StudySpec.from_dict(
        {
            "study": {"name": "search", "trials": trials},
            "task": {"run": run},
            "space": {
                "families": ["constant", "cosine", "step", "linear"],
                "base_lr": {"low": 1e-3, "high": 1.0},
            },
            **sections,
        }
    )
    study = create_study(open_storage(url), spec, load_task(run, spec.task_options()))
    assert work(url, "search", "cpu") is NoTrialReason.DONE
    return study


def confirmed(study, **options):
    spec = confirmation_spec(study, **options)
    confirming = create_study(study.storage, spec, Luck())
    assert (
        work(study.storage.engine.url.render_as_string(), spec.study.name, "cpu")
        is NoTrialReason.DONE
    )
    return confirming


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def test_a_search_never_touches_the_test_set_and_a_confirmation_once_per_run(url):
    TESTED.clear()
    study = search(url)
    assert TESTED == []
    assert not any("test_accuracy" in r.metrics for r in read_metrics(study.storage, 1))
    confirming = confirmed(study, top=3, seeds=3)
    runs = len(confirming.spec.schedules) * 3
    assert len(TESTED) == runs
    rows = read_metrics(study.storage, confirming.study_id)
    assert [row.epoch for row in rows if "test_accuracy" in row.metrics] == [4] * runs


def test_the_best_and_the_best_of_the_best_families_and_what_is_listed_are_confirmed(url):
    listed = {"schedule": "wsd", "base_lr": 0.002}
    study = search(url, schedules=[listed])
    spec = confirmation_spec(study, top=4, seeds=2, against=["step"])
    trials = study.optuna.trials
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: -t.value)
    numbers = spec.confirm.trials
    assert {t.number for t in complete[:4]} <= set(numbers)
    assert 0 in numbers  # the listed one
    names = [name.split(" #")[0] for name in spec.confirm.names]
    ranked = list(dict.fromkeys(t.user_attrs["schedule"]["schedule"] for t in complete))
    assert {*ranked[:3], "step", "constant", "wsd"} <= set(names)
    assert len(set(numbers)) == len(numbers)
    searched = {study.spec.study.seed + rung.seed for rung in study.rungs}
    assert len(searched) > 1
    assert spec.confirm.seeds == [max(searched) + 1, max(searched) + 2]
    assert spec.study.trials == 2 * len(numbers)
    with pytest.raises(StudyError, match=r"--against noam: .*known: "):
        confirmation_spec(study, against=["noam"])


def test_the_seeds_of_a_confirmation_begin_after_those_of_the_search(url):
    study = search(url, pruning={"kind": "rungs", "horizons": [1, 4], "seeds": 3}, trials=24)
    trained = {study.rungs[row.run].seed for row in read_metrics(study.storage, study.study_id)}
    assert trained == {0, 1, 2}
    assert confirmation_spec(study, seeds=2).confirm.seeds == [3, 4]


def test_all_train_on_the_same_seeds_and_the_winner_is_the_best_mean(url):
    study = search(url)
    confirming = confirmed(study, top=4, seeds=4)
    found = read_confirmation(confirming)
    for entry in found.entries:
        assert sorted(entry.values) == found.seeds
        trial = study.optuna.trials[entry.trial]
        assert trial.user_attrs["schedule"] == entry.schedule.to_dict()
    means = {entry.name: np.mean(list(entry.values.values())) for entry in found.entries}
    assert found.winner.name == max(means, key=means.get)
    assert found.metric == "test_accuracy"
    said = "\n".join(summarize(found))
    assert "cannot be told apart" in said or "beats" in said
    assert "on 4 fresh seeds" in said
    assert "the search overestimated" in said


def test_a_schedule_that_diverged_on_any_seed_cannot_win(url):
    schedules = [{"schedule": "constant", "base_lr": lr} for lr in (0.001, 6.0)]
    spec = StudySpec.from_dict(
        {
            "study": {"name": "given", "trials": 6},
            "task": {"run": f"{__name__}:Luck"},
            "pruning": {"kind": "none"},
            "confirm": {"seeds": [2, 3, 4]},
            "schedules": schedules,
        }
    )
    study = create_study(open_storage(url), spec, Luck())
    with pytest.raises(StudyError, match="0 of the 6 runs"):
        read_confirmation(study)
    work(url, "given", "cpu")
    found = read_confirmation(study)
    assert [entry.diverged for entry in found.entries] == [[], [3]]
    assert found.winner is found.entries[0]
    assert "constant (2) diverged on 1 of 3 seeds" in summarize(found)


def test_a_search_that_went_on_is_confirmed_anew_and_one_that_did_not_goes_on(url):
    study = search(url)
    first = confirmation_spec(study, top=2, seeds=2)
    create_study(study.storage, first, Luck())
    assert confirmation_spec(study, top=2, seeds=2) == first
    other = confirmation_spec(study, top=3, seeds=2)
    assert (first.study.name, other.study.name) == ("search-confirmed", "search-confirmed-2")
    assert open_study(study.storage).name == "search"  # confirmations do not count there


@pytest.mark.parametrize(
    ("confirm", "trials", "said"),
    [
        ({"seeds": [1]}, 1, "at least 2"),
        ({"seeds": [1, 1]}, 2, "must be different"),
        ({"seeds": [1, 2]}, 3, r"1 \[\[schedules\]\] on 2 seeds are 2 trials"),
        ({"seeds": [1, 2], "names": ["a", "b"]}, 2, "one for each of the 1"),
        ({"seeds": [1, 2], "seed": 3}, 2, "unknown key 'confirm.seed'; did you mean 'seeds'"),
    ],
)
def test_confirmations_that_cannot_be_are_refused(confirm, trials, said):
    with pytest.raises(SpecError, match=said):
        StudySpec.from_dict(
            {
                "study": {"name": "a", "trials": trials},
                "task": {"run": "a:b"},
                "pruning": {"kind": "none"},
                "schedules": [{"schedule": "constant", "base_lr": 0.1}],
                "confirm": confirm,
            }
        )


def test_what_has_no_complete_trial_or_is_no_search_is_refused(url):
    study = search(url, trials=1, space={"families": ["constant"], "base_lr": 0.1})
    confirming = confirmed(study, seeds=2)
    with pytest.raises(StudyError, match="confirms another itself"):
        confirmation_spec(confirming)
    with pytest.raises(StudyError, match="is a search"):
        read_confirmation(study)


def test_against_schedule_free_adds_constant_rates_with_that_optimizer(finished_study):
    pytest.importorskip("schedulefree", reason="pip install 'lrsearch[schedulefree]'")
    study = open_study(open_storage(finished_study))
    spec = confirmation_spec(study, top=1, seeds=2, against=["schedule_free"])
    assert spec.confirm is not None
    own = len(spec.confirm.trials)
    assert len(spec.given_schedules()) == own + 3
    assert {options["task.optimizer.name"] for options in spec.confirm.options[:own]} == {
        "momentum"
    }
    rates = [schedule.base_lr for schedule in spec.given_schedules()[own:]]
    assert rates == pytest.approx([rates[0], 3 * rates[0], 10 * rates[0]])
    for index, options in enumerate(spec.confirm.options):
        trial = FixedTrial({**options, "schedule": "constant", "base_lr": 0.1})
        task = load_task(spec.task.run, spec.task_options(trial))
        assert task.optimizer_name == ("momentum" if index < own else "schedule_free_sgd")
    assert all(name.startswith("schedule_free_sgd, ") for name in spec.confirm.names[own:])


def test_a_task_without_a_named_optimizer_has_none_to_exchange(tmp_path):
    study = search(f"sqlite:///{tmp_path}/search.db", trials=4)
    with pytest.raises(TaskError, match="Luck only says how an epoch ended"):
        confirmation_spec(study, against=["schedule_free"])
