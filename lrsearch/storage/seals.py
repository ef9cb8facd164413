"""Seals: checksums of what is stored, so that damage on a disk is no other number in silence.

Every epoch has a checksum. When a trial ends, or begins to wait, all that is stored of it is
sealed: Optuna's rows and our epochs; when a study is made, its spec and all that is stored with it.
Who opens a study compares.

SQLite itself notices pages that make no sense, but not a flipped bit in a number; and its check of
indices finds rows that one of them no longer leads to. What Optuna stores of a trial while it
trains is sealed at its next rung or its end, and leases and workers never are: they hold no result.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, delete, insert, select

from lrsearch.errors import StorageError
from lrsearch.storage.tables import seals
from lrsearch.storage.trial_rows import collecting_later

OF_STUDY = -1
"""In place of a trial's number: the seal of the study itself."""
_STUDY = "study"
"""In place of a trial's state."""
_STATES = ("RUNNING", "WAITING", "COMPLETE", "PRUNED", "FAIL")
_ADVICE = (
    "the file was damaged on its disk, or changed by hand: put back a copy, or search again under "
    "another name"
)

# the first column says to which trial a row belongs, by its number, the second what it is
_TRIAL_ROWS = (
    "SELECT t.number, 'trial', t.trial_id, t.state, t.datetime_start, t.datetime_complete "
    "FROM trials t WHERE {trials}",
    "SELECT t.number, 'param', p.param_name, p.param_value, p.distribution_json "
    "FROM trials t JOIN trial_params p ON p.trial_id = t.trial_id WHERE {trials}",
    "SELECT t.number, 'value', v.objective, v.value, v.value_type "
    "FROM trials t JOIN trial_values v ON v.trial_id = t.trial_id WHERE {trials}",
    "SELECT t.number, 'report', i.step, i.intermediate_value, i.intermediate_value_type "
    "FROM trials t JOIN trial_intermediate_values i ON i.trial_id = t.trial_id WHERE {trials}",
    "SELECT t.number, 'user', u.key, u.value_json "
    "FROM trials t JOIN trial_user_attributes u ON u.trial_id = t.trial_id WHERE {trials}",
    "SELECT t.number, 'system', s.key, s.value_json "
    "FROM trials t JOIN trial_system_attributes s ON s.trial_id = t.trial_id WHERE {trials}",
)
_EPOCH_ROWS = (
    "SELECT m.checksum, m.trial, m.run, m.epoch, m.step, m.lr, CAST(m.metrics AS TEXT), "
    "m.recorded, CAST(m.curve AS TEXT) FROM lrsearch_metrics m WHERE {metrics}"
)
_STUDY_ROWS = (
    "SELECT study_name FROM studies WHERE study_id = {}",
    "SELECT objective, direction FROM study_directions WHERE study_id = {}",
    "SELECT key, value_json FROM study_user_attributes WHERE study_id = {} "
    "AND substr(key, 1, 9) = 'lrsearch:'",
    "SELECT files, target, epochs, seconds FROM lrsearch_studies WHERE study_id = {}",
)


def seal_trial(connection: Connection, trial_id: int) -> None:
    """Seal what is stored of a trial that has just ended or begun to wait."""
    of_trial = f"trial_id = {int(trial_id)}"
    query = f"SELECT study_id, number, state FROM trials WHERE {of_trial}"
    study_id, number, state = connection.exec_driver_sql(query).one()
    of_epochs = f"m.study_id = {study_id} AND m.trial = {number}"
    digests = _digests(connection, f"t.{of_trial}", of_epochs)
    _keep(connection, study_id, number, state, digests[number])


def seal_study(connection: Connection, study_id: int) -> None:
    """Seal what is stored of a study beside its trials, as it is now."""
    _keep(connection, study_id, OF_STUDY, _STUDY, _study_digest(connection, study_id))


def break_seal(connection: Connection, study_id: int, number: int) -> None:
    """Forget the seal of a trial that goes on."""
    connection.execute(delete(seals).where(seals.c.study_id == study_id, seals.c.trial == number))


def epoch_checksum(trial: int, *rest: int | float | str | None) -> int:
    """Return the checksum of an epoch's row: run, epoch, step, lr, metrics, time, curve.

    Metrics and curve as the JSON that is stored.
    """
    return _checksum(trial, repr([*rest]))


def _checksum(trial: int, rest: str) -> int:
    """Return the same of what `repr` makes of a list of the rest."""
    return crc32(f"({trial}, {rest[1:-1]})".encode())


def check_seals(
    connection: Connection, study_id: int, name: str, latest: int | None = None
) -> None:
    """Compare what is stored of a study with its seals; what has none is let pass.

    Args:
        connection: in a transaction that sees all as of one moment.
        study_id: Optuna's id of the study.
        name: its name.
        latest: compare only so many trials, those that began last; else all.

    Raises:
        StorageError: if anything is not as it was stored.
    """
    _check_structure(connection)
    rows = connection.execute(select(seals).where(seals.c.study_id == study_id)).all()
    kept = {row.trial: row for row in rows}
    own = kept.pop(OF_STUDY, None)
    if own and own.digest != _study_digest(connection, study_id):
        raise StorageError(f"study {name!r} is not as it was stored; {_ADVICE}")
    first = max(kept, default=0) - latest if latest else -1
    listing = f"SELECT number, state FROM trials WHERE study_id = {int(study_id)}"
    states = {row.number: row.state for row in connection.exec_driver_sql(listing)}
    of_study = f"study_id = {int(study_id)} AND"
    digests = _digests(
        connection, f"t.{of_study} t.number > {first}", f"m.{of_study} m.trial > {first}"
    )
    for number, seal in kept.items():
        state = states.get(number, seal.state)
        if number <= first or (state in _STATES and state != seal.state):
            continue  # the latter was changed by hand
        if seal.digest != digests[number]:
            raise StorageError(f"trial {number} of study {name!r} is not as stored; {_ADVICE}")


def _check_structure(connection: Connection) -> None:
    """Have SQLite look through its pages and indices; PostgreSQL has checksums of its own."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            said = str(found).splitlines()[-1]
            raise StorageError(f"the database is damaged ({said}); {_ADVICE}")


def _digests(connection: Connection, trials: str, metrics: str) -> defaultdict[int, str]:
    """Return the digests of what is stored of some trials, by their numbers.

    Args:
        connection: in a transaction.
        trials: the condition on their rows.
        metrics: that on their epochs' rows.
    """
    found: dict[int, list[str]] = defaultdict(list)
    with collecting_later():
        for query in _TRIAL_ROWS:
            for row in _plain_rows(connection, query.format(trials=trials)):
                found[row[0]].append(repr(row[1:]))
        for checksum, trial, *rest in _plain_rows(connection, _EPOCH_ROWS.format(metrics=metrics)):
            text = repr(rest)
            if checksum is not None and checksum != _checksum(trial, text):
                raise StorageError(f"an epoch of trial {trial} is not as it was stored; {_ADVICE}")
            found[trial].append(text)
        return defaultdict(str, {trial: _digest(rows) for trial, rows in found.items()})


def _plain_rows(connection: Connection, query: str) -> Sequence[Any]:
    """Return what the driver itself returns: SQLAlchemy's rows take half as long again."""
    cursor = connection.exec_driver_sql(query).cursor
    assert cursor is not None, "it returns rows"
    try:
        return cursor.fetchall()
    except sqlite3.Error as error:  # such as of text that is none any more
        raise StorageError(f"the database is damaged ({error}); {_ADVICE}") from None


def _study_digest(connection: Connection, study_id: int) -> str:
    queries = [query.format(study_id) for query in _STUDY_ROWS]
    return _digest([repr(row[:]) for q in queries for row in connection.exec_driver_sql(q)])


def _digest(rows: list[str]) -> str:
    """Return the digest of a set of rows, which has no order."""
    return sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _keep(connection: Connection, study_id: int, number: int, state: str, digest: str) -> None:
    break_seal(connection, study_id, number)
    row = insert(seals).values(study_id=study_id, trial=number, state=state, digest=digest)
    connection.execute(row)
