"""Reads Optuna's trials from its tables, in a tenth of the time that its ORM takes.

Whole, or as a sketch: what a trial came to, without what it trains.
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Select, Table, and_, bindparam, func, or_, select

from lrsearch.storage.optuna_private import (
    params,
    read_report,
    read_value,
    reports,
    studies,
    system_attributes,
    trial_id_of,
    trials,
    user_attributes,
    values,
)

_AT_ONCE = 500
"""Trials that one statement names: databases bound the number of its parameters."""


_STUDY = select(studies.c.study_id).where(studies.c.study_id == bindparam("study"))
_NUMBERS = select(trials.c.number).where(trials.c.study_id == bindparam("study"))
_LATER = select(trials.c.trial_id).where(
    trials.c.study_id == bindparam("study"), trials.c.trial_id > bindparam("after")
)
_WAITING = (
    select(trials.c.trial_id, trials.c.datetime_start, func.count())
    .join(reports, reports.c.trial_id == trials.c.trial_id)
    .where(trials.c.study_id == bindparam("study"), trials.c.state == TrialState.WAITING)
    .group_by(trials.c.trial_id, trials.c.datetime_start)
)
_ATTRIBUTE = select(user_attributes.c.trial_id, user_attributes.c.value_json).where(
    user_attributes.c.trial_id.in_(bindparam("ids", expanding=True)),
    user_attributes.c.key == bindparam("of_key"),
)


class Sketch(NamedTuple):
    """What a trial came to.

    `value` is its final one; `reports`, by step, are the last and those that were asked for;
    `attributes` are the user attributes that were asked for, as far as it has them.
    """

    trial_id: int
    number: int
    state: TrialState
    value: float | None
    reports: Mapping[int, float]
    attributes: Mapping[str, Any]


def read_trials(
    connection: Connection,
    study_id: int,
    *,
    after: int = -1,
    beside: Iterable[int] = (),
    known: Mapping[int, FrozenTrial] = MappingProxyType({}),
) -> list[FrozenTrial]:
    """Return the trials of a study as Optuna does, by their ids.

    Args:
        connection: in a transaction of the caller's.
        study_id: Optuna's id of the study.
        after: only those with greater ids,
        beside: and those with these.
        known: trials, by id, that are as they were when they were read, and not to be read again.

    Raises:
        KeyError: if there is no such study.
    """
    later = {"study": study_id, "after": after}
    if connection.execute(_STUDY, later).first() is None:
        raise KeyError(f"there is no study with id {study_id}")
    named = {trial_id for trial_id in beside if trial_id <= after}
    if known:
        named |= set(connection.execute(_LATER, later).scalars())
    with collecting_later():
        found = [] if known else _read(connection, "later", **later)
        found += [known[trial_id] for trial_id in named & known.keys()]
        for some in _chunks(named - known.keys()):
            found += _read(connection, "these", ids=some)
    return sorted(found, key=trial_id_of)


def read_trial(connection: Connection, trial_id: int) -> FrozenTrial:
    """Return one trial.

    Raises:
        KeyError: if there is none.
    """
    if found := _read(connection, "one", id=trial_id):
        return found[0]
    raise KeyError(f"there is no trial with id {trial_id}")


def read_numbered(
    connection: Connection, study_id: int, numbers: Iterable[int]
) -> list[FrozenTrial]:
    """Return the trials of a study that have these numbers; those that are not there are not."""
    found = []
    for some in _chunks(numbers):
        found += _read(connection, "numbered", study=study_id, numbers=some)
    return found


def read_sketches(
    connection: Connection,
    study_id: int,
    steps: Collection[int],
    attributes: Collection[str],
    without: Container[int] = (),
) -> list[Sketch]:
    """Return what the trials of a study came to.

    Args:
        connection: in a transaction of the caller's.
        study_id: Optuna's id of the study.
        steps: of the reports that are wanted beside the last.
        attributes: the keys of the user attributes that are wanted.
        without: the numbers of trials that are known, and not to be read.
    """
    of_study = {"study": study_id}
    with collecting_later():
        if not without:
            return _sketch(connection, steps, attributes, "later", **of_study, after=-1)
        numbers = connection.execute(_NUMBERS, of_study).scalars()
        found = []
        for some in _chunks(number for number in numbers if number not in without):
            found += _sketch(connection, steps, attributes, "numbered", **of_study, numbers=some)
        return found


def waiting_trials(connection: Connection, study_id: int) -> dict[int, tuple[datetime, int]]:
    """Return when each trial that has begun and waits began (in UTC), and how often it reported."""
    rows = connection.execute(_WAITING, {"study": study_id}).all()
    return {trial_id: (begun, count) for trial_id, begun, count in rows}


def read_reports(connection: Connection, ids: Iterable[int]) -> dict[int, dict[int, float]]:
    """Return the reports of trials by their ids and by step."""
    found: dict[int, dict[int, float]] = {}
    with collecting_later():
        for some in _chunks(ids):
            reported = _rows(connection, _Which("these", {"ids": some}), reports, "step", *_REPORT)
            found |= {trial_id: _reports(rows) for trial_id, rows in reported.items()}
    return found


def read_attribute(connection: Connection, ids: Iterable[int], key: str) -> dict[int, Any]:
    """Return a user attribute of trials by their ids, of those that have it."""
    found: dict[int, Any] = {}
    for some in _chunks(ids):
        found |= {
            trial_id: json.loads(text)
            for trial_id, text in connection.execute(_ATTRIBUTE, {"ids": some, "of_key": key})
        }
    return found


@contextmanager
def collecting_later() -> Iterator[None]:
    """Keep Python's garbage collector from going through all that is read, again and again.

    It would take as long as the reading, and find nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(ids)
    for first in range(0, len(ordered), _AT_ONCE):
        yield ordered[first : first + _AT_ONCE]


class _Which(NamedTuple):
    """Trials to read: of what holds the name of one of `_CONDITIONS`, with values for it."""

    condition: str
    values: dict[str, Any]


_CONDITIONS = {
    "these": trials.c.trial_id.in_(bindparam("ids", expanding=True)),
    "later": and_(trials.c.study_id == bindparam("study"), trials.c.trial_id > bindparam("after")),
    "numbered": and_(
        trials.c.study_id == bindparam("study"),
        trials.c.number.in_(bindparam("numbers", expanding=True)),
    ),
    "one": trials.c.trial_id == bindparam("id"),
}


def _read(connection: Connection, condition: str, **given: Any) -> list[FrozenTrial]:
    """Return the trials of which a condition holds."""
    which = _Which(condition, given)
    found = connection.execute(_heads(condition), given).all()
    if not found:
        return []
    if len(found) == 1:  # most reads are of the one that trains
        which = _Which("one", {"id": found[0].trial_id})
    stored_params = _rows(
        connection, which, params, "param_name", "param_value", "distribution_json"
    )
    final = _rows(connection, which, values, "value", "value_type", "objective")
    reported = _rows(connection, which, reports, "step", *_REPORT)
    theirs, own = (
        _rows(connection, which, table, "key", "value_json")
        for table in (user_attributes, system_attributes)
    )
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=_values(final[trial_id]) if trial_id in final else None,
            datetime_start=local_time(begun),
            datetime_complete=local_time(ended),
            params={
                name: _distribution(text).to_external_repr(value)
                for _, name, value, text in stored_params.get(trial_id, ())
            },
            distributions={
                name: _distribution(text) for _, name, _, text in stored_params.get(trial_id, ())
            },
            user_attrs=_attributes(theirs.get(trial_id, ())),
            system_attrs=_attributes(own.get(trial_id, ())),
            intermediate_values=_reports(reported.get(trial_id, ())),
            trial_id=trial_id,
        )
        for trial_id, number, state, begun, ended in found
    ]


_REPORT = "intermediate_value", "intermediate_value_type"


def _sketch(
    connection: Connection,
    steps: Collection[int],
    attributes: Collection[str],
    condition: str,
    **given: Any,
) -> list[Sketch]:
    """Return the trials of which a condition holds."""
    found = connection.execute(_heads(condition), given).all()
    of_steps = _Which(condition, given | {"steps": list(steps)})
    reported = _rows(connection, of_steps, reports, "step", *_REPORT, narrowed=True)
    final = _rows(connection, _Which(condition, given), values, "value", "value_type", "objective")
    of_keys = _Which(condition, given | {"keys": list(attributes)})
    known = _rows(connection, of_keys, user_attributes, "key", "value_json", narrowed=True)
    return [
        Sketch(
            trial_id,
            number,
            state,
            _values(final[trial_id])[0] if trial_id in final else None,
            _reports(reported.get(trial_id, ())),
            _attributes(known.get(trial_id, ())),
        )
        for trial_id, number, state, *_ in found
    ]


def _rows(
    connection: Connection, which: _Which, table: Table, *names: str, narrowed: bool = False
) -> dict[int, list[Any]]:
    """Return some columns of a table by trial, in the order in which they were stored."""
    found = defaultdict(list)
    query = _details(table, names, which.condition, narrowed)
    for row in connection.execute(query, which.values).all():
        found[row[0]].append(row)
    return found


# Statements are built once: to build one takes longer than to run it for one trial.


@cache
def _heads(condition: str) -> Select[Any]:
    columns = "trial_id", "number", "state", "datetime_start", "datetime_complete"
    return select(*(trials.c[name] for name in columns)).where(_CONDITIONS[condition])


@cache
def _details(table: Table, names: Sequence[str], condition: str, narrowed: bool) -> Select[Any]:
    query = select(table.c.trial_id, *(table.c[name] for name in names))
    if condition == "one":
        query = query.where(table.c.trial_id == bindparam("id"))
    else:
        query = query.join(trials, trials.c.trial_id == table.c.trial_id)
        query = query.where(_CONDITIONS[condition])
    if narrowed and table is reports:
        others = reports.alias()
        last = select(func.max(others.c.step)).where(others.c.trial_id == reports.c.trial_id)
        asked_for = reports.c.step.in_(bindparam("steps", expanding=True))
        query = query.where(or_(asked_for, reports.c.step == last.scalar_subquery()))
    elif narrowed:
        query = query.where(table.c.key.in_(bindparam("keys", expanding=True)))
    return query.order_by(next(iter(table.primary_key)))


_distribution: Callable[[str], BaseDistribution] = lru_cache(maxsize=4096)(json_to_distribution)
"""A study has few, and each of its trials one for every parameter."""


def _values(rows: Iterable[Any]) -> list[float]:
    ordered = sorted((objective, read_value(value, kind)) for _, value, kind, objective in rows)
    return [value for _, value in ordered]


def _reports(rows: Iterable[Any]) -> dict[int, float]:
    return {step: read_report(value, kind) for _, step, value, kind in rows}


def _attributes(rows: Iterable[Any]) -> dict[str, Any]:
    return {key: json.loads(text) for _, key, text in rows}


def local_time(time: datetime | None) -> datetime | None:
    """Return a time as Optuna shows it: stored in UTC, shown by the clock of this machine."""
    return time and time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
