"""Our row of each study: its folder, its budget, whether its workers are to leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import insert, select, text, update

from lrsearch.errors import StudyError
from lrsearch.storage import sqlite
from lrsearch.storage.budget import count_begun, lock_study
from lrsearch.storage.optuna_private import studies as optuna_studies
from lrsearch.storage.optuna_private import trials
from lrsearch.storage.seals import seal_study
from lrsearch.storage.storage import Storage
from lrsearch.storage.tables import forget, studies


class StudyRow(NamedTuple):
    """What is stored of a study beside Optuna's own.

    `files` is the folder of its checkpoints and logs; `target`, `epochs` and `seconds` are its
    budgets of trials, epochs and time, the last two none for no limit; `stopping` says whether its
    workers are to leave.
    """

    files: str
    target: int
    stopping: bool = False
    epochs: int | None = None
    seconds: float | None = None


def study_names(storage: Storage) -> list[str]:
    """Return the names of all studies in the order in which they were made.

    Optuna's `get_all_studies` loads all that is kept with each, the dashboard's figures among it.
    """
    query = select(optuna_studies.c.study_name).order_by(optuna_studies.c.study_id)
    with storage.reading() as connection:
        return list(connection.execute(query).scalars())


def read_study(storage: Storage, study_id: int) -> StudyRow | None:
    """Return our row of a study; `None` where it has none."""
    query = select(*(studies.c[name] for name in StudyRow._fields))
    with storage.reading() as connection:
        row = connection.execute(query.where(studies.c.study_id == study_id)).first()
    return None if row is None else StudyRow(*row)


def insert_study(storage: Storage, study_id: int, row: StudyRow) -> None:
    """Store our row of a study that is new."""
    with storage.engine.begin() as connection:
        connection.execute(insert(studies).values(study_id=study_id, failures=0, **row._asdict()))
        seal_study(connection, study_id)


def forget_study(storage: Storage, study_id: int) -> None:
    """Delete our rows of a study that is about to begin, and of all that Optuna has deleted."""
    with storage.engine.begin() as connection:
        forget(connection, study_id)


def set_target(storage: Storage, study_id: int, target: int) -> None:
    """Set how many trials are to finish.

    Raises:
        StudyError: if more trials than that have finished or are being trained.
    """
    with storage.engine.begin() as connection:
        lock_study(connection, study_id)
        begun = count_begun(connection, study_id)
        if target < begun:
            raise StudyError(
                f"--trials sets the total and must be at least the {begun} trials that have "
                f"finished or begun, but got {target}"
            )
        of_study = studies.c.study_id == study_id
        connection.execute(update(studies).where(of_study).values(target=target))
        seal_study(connection, study_id)


def set_limits(
    storage: Storage, study_id: int, *, epochs: int | None = None, seconds: float | None = None
) -> None:
    """Set budgets of epochs in all and of seconds from now on; none leaves one as it is."""
    values: dict[str, float | None] = {} if epochs is None else {"epochs": epochs}
    values |= {} if seconds is None else {"seconds": seconds, "deadline": None}
    with storage.engine.begin() as connection:
        of_study = studies.c.study_id == study_id
        if values:
            connection.execute(update(studies).where(of_study).values(values))
            seal_study(connection, study_id)


def set_stopping(storage: Storage, study_id: int, stopping: bool) -> None:
    """Tell a study's workers to leave, or let them work (again)."""
    with storage.engine.begin() as connection:
        of_study = studies.c.study_id == study_id
        values = {"stopping": stopping, "failures": 0}
        connection.execute(update(studies).where(of_study).values(values))


@contextmanager
def creating_alone(storage: Storage) -> Iterator[None]:
    """Wait for the only right to create a study, which takes more than one transaction."""
    url = storage.engine.url
    if url.get_backend_name() == "sqlite":
        with sqlite.alone(str(url.database)):
            yield
        return
    with storage.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7236752)"))
        yield


def study_of_trial(storage: Storage, trial_id: int) -> int:
    """Return the id of the study that a trial belongs to."""
    with storage.reading() as connection:
        query = select(trials.c.study_id).where(trials.c.trial_id == trial_id)
        return int(connection.execute(query).scalar_one())
