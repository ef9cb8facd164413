"""What is stored of trials that ended or wait, and of a study, is sealed: a change is noticed."""

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import delete, text
from test_conformance import join, make, record_metrics, tell

from lrsearch import open_storage, open_study
from lrsearch.errors import StorageError
from lrsearch.storage import EpochMetrics, Step
from lrsearch.storage import tables as ours
from lrsearch.storage.seals import check_seals

DAMAGE = {
    "a value": "UPDATE trial_values SET value = value + 0.25",
    "a report": "UPDATE trial_intermediate_values SET intermediate_value = 0.75 WHERE step = 1",
    "a report lost": "DELETE FROM trial_intermediate_values WHERE step = 1",
    "a parameter": "UPDATE trial_params SET param_value = param_value / 2",
    "a domain": "UPDATE trial_params SET distribution_json = "
    "replace(distribution_json, '1.0', '7.0')",
    "an attribute": "UPDATE trial_user_attributes SET value_json = '\"other\"'",
    "a constraint": "UPDATE trial_system_attributes SET value_json = '[2.0]'",
    "a number": "UPDATE trials SET number = 17 WHERE number = 0",
    "a trial": "DELETE FROM trials WHERE number = 0",
    "a rate": "UPDATE lrsearch_metrics SET lr = lr * 1.0000001",
    "an epoch": "DELETE FROM lrsearch_metrics WHERE epoch = 2",
    "a time": "UPDATE lrsearch_metrics SET recorded = recorded + 1",
    "the spec": "UPDATE study_user_attributes SET value_json = "
    "replace(value_json, 'fake', 'fame') WHERE value_json LIKE '%fake%'",
    "which way is better": "UPDATE study_directions SET direction = 'MINIMIZE'",
    "the budget": "UPDATE lrsearch_studies SET target = 99",
}
OF_STUDY = {"the spec", "which way is better", "the budget"}


def train(study, lease):
    """Store what a trial shows, as a worker does."""
    trial = study.trial(lease.trial_id, lease.number)
    with study.storage.guarded(lease.check):
        trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr("mine", "this")
        trial.set_constraint("diverged", 0.0)
        for epoch in (1, 2):
            trial.report(0.5, epoch)
            row = EpochMetrics(lease.number, 0, epoch, 50 * epoch, 0.1, {"score": 0.5})
            record_metrics(study.storage, study.study_id, lease.worker_id, row)


def damaged(study, command):
    """Return what is said of a study after a statement that is taken back."""
    with study.storage.engine.connect() as connection:
        if connection.dialect.name == "postgresql" and command.startswith("DELETE FROM trials"):
            for table in ("values", "intermediate_values", "params", "user_attributes"):
                connection.execute(text(f"DELETE FROM trial_{table}"))
            connection.execute(text("DELETE FROM trial_system_attributes"))
        assert connection.execute(text(command)).rowcount
        try:
            check_seals(connection, study.study_id, study.name)
        except StorageError as error:
            return str(error)
        finally:
            connection.rollback()
    return "nothing"


def test_a_change_of_what_has_ended_is_noticed(storage):
    study = make(storage)
    worker = join(study)
    lease = worker.claim()
    train(study, lease)
    tell(storage, lease)
    worker.end(lease, failed=False)
    assert open_study(storage).optuna.trials[0].value == 1.0
    for what, command in DAMAGE.items():
        said = damaged(study, command)
        assert ("study 'fake' is not as" if what in OF_STUDY else "trial 0 ") in said, what
    open_study(storage)
    with storage.engine.begin() as connection:
        connection.execute(text(DAMAGE["a value"]))
    with pytest.raises(StorageError, match="not as stored; the file was damaged on its disk"):
        open_study(storage)


def test_a_trial_that_waits_is_sealed_until_it_goes_on(storage):
    study = make(storage)
    worker = join(study)
    lease = worker.claim()
    train(study, lease)
    worker.pause(lease)
    assert "trial 0 of study 'fake' is not as stored" in damaged(study, DAMAGE["a report"])
    with storage.engine.begin() as connection:  # what a claim does with what the rungs decide
        lease = worker._resume(connection, Step(0, 1, 4))
    with storage.guarded(lease.check):
        study.trial(lease.trial_id, 0).report(0.25, 4)
    open_study(storage)
    plain = RDBStorage(storage.engine.url.render_as_string(hide_password=False))
    plain.set_trial_state_values(lease.trial_id, TrialState.WAITING)  # as anybody can
    open_study(storage)
    plain.set_trial_state_values(lease.trial_id, TrialState.COMPLETE, [0.25])  # as a dashboard can
    plain.engine.dispose()
    open_study(storage)


def test_an_epoch_of_a_trial_in_training_has_a_checksum_of_its_own(storage):
    study = make(storage)
    train(study, join(study).claim())
    open_study(storage)
    for what in ("a rate", "a time"):
        assert damaged(study, DAMAGE[what]).startswith("an epoch of trial 0 is not as"), what
    assert damaged(study, DAMAGE["a report"]) == "nothing"  # until its run ends
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE lrsearch_metrics SET checksum = NULL"))  # as before
        connection.execute(text(DAMAGE["a rate"]))
    open_study(storage)


def test_what_may_change_may(storage):
    study = make(storage)
    worker = join(study)
    for _ in range(2):
        lease = worker.claim()
        train(study, lease)
        tell(storage, lease)
        worker.end(lease, failed=False)
    study.set_target(9)
    open_study(storage)
    study.set_limits(epochs=100, seconds=60.0)
    open_study(storage)
    study.set_stopping(True)
    study.set_stopping(False)
    worker.claim()
    study.optuna.enqueue_trial({"x": 0.5})
    study.optuna.set_user_attr("mine", "a note")
    opened = open_study(open_storage(storage.engine.url.render_as_string(hide_password=False)))
    assert opened.target == 9
    with storage.engine.begin() as connection:  # as in a study of a version before
        connection.execute(delete(ours.seals))
        connection.execute(text(DAMAGE["a value"]))
    open_study(storage)


@pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)
def test_an_index_that_no_longer_leads_to_a_row_is_noticed(storage):
    study = make(storage)
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = 1")
        schema = "UPDATE sqlite_schema SET sql = replace(sql, 'ASC', '') || ' WHERE 0'"
        connection.exec_driver_sql(f"{schema} WHERE name = 'lrsearch_trial_states'")
        connection.commit()
    join(study).claim()
    with pytest.raises(StorageError, match="the database is damaged"):
        open_study(open_storage(storage.engine.url.render_as_string(hide_password=False)))


@pytest.mark.parametrize("storage_url", ["sqlite"], indirect=True)
def test_text_that_is_none_any_more_is_noticed(storage):
    study = make(storage)
    train(study, join(study).claim())
    said = damaged(study, "UPDATE lrsearch_metrics SET metrics = CAST(x'7b80' AS TEXT)")
    assert said.startswith("the database is damaged (Could not decode to UTF-8")
