"""Trials read from the tables are what Optuna reads, and none is read twice that is as it was."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import update

from lrsearch import open_storage, open_study
from lrsearch.evaluation import find_answer
from lrsearch.storage import transactions, trial_reading, trial_rows
from lrsearch.storage.optuna_private import made_by_this_optuna
from lrsearch.storage.tables import leases
from lrsearch.study import ranked, read_status
from lrsearch.study.results import TrialResult
from tests.reporting.synthetic import synthetic_study

SPACE = {
    "z": FloatDistribution(1e-4, 1.0, log=True),
    "a": IntDistribution(2, 8, step=2),
    "kind": CategoricalDistribution(["none", "linear", None, 3]),
}
ODD = ("complete", "pruned", "diverged", "failed to train", "complete", "failed")


def url_of(storage):
    return storage.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def frozen(monkeypatch):
    """The ids of the trials that were read whole, in order."""
    read = []
    real = trial_reading.FrozenTrial

    def noted(**fields):
        read.append(fields["trial_id"])
        return real(**fields)

    monkeypatch.setattr(trial_reading, "FrozenTrial", noted)
    return read


def test_trials_are_what_optuna_reads(storage):
    study = optuna.create_study(storage=storage)
    params = {"z": 0.1, "a": 4, "kind": None}
    for value, reports in ((0.5, {1: 0.1, 7: math.inf}), (-math.inf, {3: -math.inf}), (1e300, {})):
        study.add_trial(
            create_trial(
                value=value,
                params=params,
                distributions=SPACE,
                user_attrs={"nested": {"a": [1, None]}, "text": "ü"},
                constraints={"diverged": 1.0},
                intermediate_values=reports,
            )
        )
    study.enqueue_trial({"z": 0.2}, user_attrs={"given": True})
    running = study.ask()
    running.suggest_float("z", 1e-4, 1.0, log=True)
    running.report(0.25, 2)
    running.set_user_attr("again", 1)
    running.set_user_attr("again", [2])
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"a": 2})
    ids = range(1, 8)
    plain = RDBStorage(url_of(storage), transactions.engine_options(storage.engine.url))
    theirs = plain.get_all_trials(1, deepcopy=False)
    ours = open_storage(url_of(storage)).get_all_trials(1, deepcopy=False)
    assert ours == theirs
    assert [list(trial.params) for trial in ours] == [list(trial.params) for trial in theirs]
    assert [storage.get_trial(i) for i in ids[: len(theirs)]] == theirs
    states = (TrialState.WAITING, TrialState.RUNNING)
    assert storage.get_all_trials(1, states=states) == plain.get_all_trials(1, states=states)
    plain.engine.dispose()
    with pytest.raises(KeyError):
        storage.get_all_trials(99)
    with pytest.raises(KeyError):
        storage.get_trial(99)


def test_more_trials_than_a_statement_may_name(storage, monkeypatch):
    monkeypatch.setattr(trial_rows, "_AT_ONCE", 3)
    made = synthetic_study(url_of(storage), 20)
    numbers = [t.number for t in storage.trials_numbered(made.study_id, [*range(3, 15), 99])]
    assert sorted(numbers) == list(range(3, 15))
    assert [result.number for result in made.results()] == list(range(20))
    assert made.results() == made.results()


def test_a_trial_that_waits_is_read_again_only_once_it_has_trained(storage, frozen):
    synthetic_study(url_of(storage), 12, outcomes=["pruned"])
    with storage.engine.begin() as connection:
        waiting = update(trial_reading.trials).values(state=TrialState.WAITING)
        connection.execute(waiting.values(datetime_complete=None))
    study, other = (open_study(open_storage(url_of(storage))).optuna for _ in range(2))
    frozen.clear()
    assert len(study.get_trials(deepcopy=False)) == len(frozen) == 12
    frozen.clear()
    study.get_trials(deepcopy=False)
    assert frozen == []
    with storage.engine.begin() as connection:
        of_one = update(trial_reading.trials).where(trial_reading.trials.c.trial_id == 5)
        connection.execute(of_one.values(state=TrialState.RUNNING))
    open_storage(url_of(storage)).set_trial_intermediate_value(5, 99, 0.75)
    with storage.engine.begin() as connection:
        connection.execute(of_one.values(state=TrialState.WAITING))
    frozen.clear()
    now = {t.number: t for t in study.get_trials(deepcopy=False)}
    assert frozen == [5]
    assert now[4].intermediate_values[99] == 0.75
    assert list(now.values()) == other.get_trials()


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_trials_came_to_is_the_same_with_and_without_the_rest(storage, direction):
    made = synthetic_study(url_of(storage), 40, outcomes=ODD, direction=direction)
    results, records = made.results(), made.records()
    for name in ("outcome", "value", "mean", "finished", "known_from", "last_length"):
        assert [getattr(r, name) for r in results] == [getattr(r, name) for r in records]
    both = [[t.number for t in ranked(each, maximize=made.maximize)] for each in (results, records)]
    assert both[0] == both[1]
    assert made.best().number == both[0][0]
    assert not any(isinstance(result, type(records[0])) for result in results)
    assert all(isinstance(record, TrialResult) for record in records)


def test_a_status_reads_no_trial_but_those_that_it_names(storage, frozen):
    made = synthetic_study(url_of(storage), 60, outcomes=ODD)
    with storage.engine.begin() as connection:
        connection.execute(update(leases).values(ended=1.0))
    study = open_study(open_storage(url_of(storage)))
    frozen.clear()
    status, answer = read_status(study), find_answer(study)
    named = {t.trial for t in (*status.leading, *status.latest)}
    ids = {result.number: result.id for result in made.results()}
    assert set(frozen) == {ids[number] for number in named}
    assert answer.trial.number == status.leading[0].trial
    assert (status.finished, status.failed) == (50, 10)


def test_tables_of_another_optuna_are_checked_as_optuna_does(storage, monkeypatch):
    with storage.reading() as connection:
        assert made_by_this_optuna(connection)
    checked = []
    real = RDBStorage.__init__
    monkeypatch.setattr(
        RDBStorage,
        "__init__",
        lambda self, *args, **options: (checked.append(1), real(self, *args, **options))[1],
    )
    open_storage(url_of(storage), create=False)
    assert not checked
    monkeypatch.setattr(optuna, "__version__", "5.0.99")
    open_storage(url_of(storage), create=False)
    assert checked
