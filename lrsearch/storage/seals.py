"""Seals: checksums of what is stored, so that damage on a disk is no other number in silence.

When a trial ends, or begins to wait, all that is stored of it is sealed: Optuna's rows and our
epochs; when a study is made, its spec and all that is stored with it. Who opens a study compares.

SQLite itself notices pages that make no sense, but not a flipped bit in a number; and its check of
indices finds rows that one of them no longer leads to. What a trial has stored while it trains is
sealed at its next rung or its end, and leases and workers never are: they hold no result.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256

from sqlalchemy import Connection, delete, insert, select

from lrsearch.errors import StorageError
from lrsearch.storage.tables import seals

OF_STUDY = -1
"""In place of a trial's number: the seal of the study itself."""
_STUDY = "study"
"""In place of a trial's state."""
_SEALED = ("WAITING", "COMPLETE", "PRUNED", "FAIL")
_ADVICE = (
    "the file was damaged on its disk, or changed by hand: put back a copy, or search again under "
    "another name"
)

# the first column says to which trial a row belongs, the second what it is
_TRIAL_ROWS = (
    "SELECT t.trial_id, 'trial', t.number, t.state, t.datetime_start, t.datetime_complete "
    "FROM trials t",
    "SELECT p.trial_id, 'param', p.param_name, p.param_value, p.distribution_json "
    "FROM trial_params p JOIN trials t ON t.trial_id = p.trial_id",
    "SELECT v.trial_id, 'value', v.objective, v.value, v.value_type FROM trial_values v "
    "JOIN trials t ON t.trial_id = v.trial_id",
    "SELECT i.trial_id, 'report', i.step, i.intermediate_value, i.intermediate_value_type "
    "FROM trial_intermediate_values i JOIN trials t ON t.trial_id = i.trial_id",
    "SELECT u.trial_id, 'user', u.key, u.value_json FROM trial_user_attributes u "
    "JOIN trials t ON t.trial_id = u.trial_id",
    "SELECT s.trial_id, 'system', s.key, s.value_json FROM trial_system_attributes s "
    "JOIN trials t ON t.trial_id = s.trial_id",
    "SELECT t.trial_id, 'epoch', m.run, m.epoch, m.step, m.lr, CAST(m.metrics AS TEXT), "
    "m.recorded, CAST(m.curve AS TEXT) FROM lrsearch_metrics m "
    "JOIN trials t ON t.study_id = m.study_id AND t.number = m.trial",
)
_STUDY_ROWS = (
    "SELECT study_name FROM studies WHERE study_id = {}",
    "SELECT objective, direction FROM study_directions WHERE study_id = {}",
    "SELECT key, value_json FROM study_user_attributes WHERE study_id = {}",
    "SELECT files, target, epochs, seconds FROM lrsearch_studies WHERE study_id = {}",
)


def seal_trial(connection: Connection, trial_id: int) -> None:
    """Seal what is stored of a trial that has just ended or begun to wait."""
    of_trial = f"trial_id = {int(trial_id)}"
    query = f"SELECT study_id, number, state FROM trials WHERE {of_trial}"
    study_id, number, state = connection.exec_driver_sql(query).one()
    digest = _digests(connection, f"t.{of_trial}")[trial_id]
    _keep(connection, study_id, number, state, digest)


def seal_study(connection: Connection, study_id: int) -> None:
    """Seal what is stored of a study beside its trials, as it is now."""
    _keep(connection, study_id, OF_STUDY, _STUDY, _study_digest(connection, study_id))


def break_seal(connection: Connection, study_id: int, number: int) -> None:
    """Forget the seal of a trial that goes on."""
    connection.execute(delete(seals).where(seals.c.study_id == study_id, seals.c.trial == number))


def check_seals(
    connection: Connection, study_id: int, name: str, latest: int | None = None
) -> None:
    """Compare what is stored of a study with its seals; what has none is let pass.

    Args:
        connection: in a transaction.
        study_id: Optuna's id of the study.
        name: its name.
        latest: compare only so many trials, those that began last; else all.

    Raises:
        StorageError: if anything is not as it was stored.
    """
    _check_structure(connection)
    rows = connection.execute(select(seals).where(seals.c.study_id == study_id)).all()
    kept = {row.trial: row for row in rows}
    of_study = kept.pop(OF_STUDY, None)
    if of_study and of_study.digest != _study_digest(connection, study_id):
        raise StorageError(f"study {name!r} is not as it was stored; {_ADVICE}")
    first = max(kept, default=0) - latest if latest else -1
    which = f"t.study_id = {int(study_id)} AND t.number > {first}"
    listing = f"SELECT t.trial_id, t.number, t.state FROM trials t WHERE {which}"
    found = {row.number: row for row in connection.exec_driver_sql(listing)}
    digests = _digests(connection, which)
    for number, seal in kept.items():
        trial = found.get(number)
        if number <= first or (trial and trial.state in _SEALED and trial.state != seal.state):
            continue  # the latter was ended by hand
        if trial is None or seal.digest != digests[trial.trial_id]:
            raise StorageError(f"trial {number} of study {name!r} is not as stored; {_ADVICE}")


def _check_structure(connection: Connection) -> None:
    """Have SQLite look through its pages and indices; PostgreSQL has checksums of its own."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            said = str(found).splitlines()[-1]
            raise StorageError(f"the database is damaged ({said}); {_ADVICE}")


def _digests(connection: Connection, which: str) -> defaultdict[int, str]:
    """Return the digests of what is stored of some trials, by Optuna's ids."""
    found: dict[int, list[str]] = defaultdict(list)
    for query in _TRIAL_ROWS:
        for row in connection.exec_driver_sql(f"{query} WHERE {which}"):
            found[row[0]].append(repr(row[1:]))
    return defaultdict(str, {trial: _digest(rows) for trial, rows in found.items()})


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
