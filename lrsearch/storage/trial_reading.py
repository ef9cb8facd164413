"""Reads Optuna's trials from its tables, in a tenth of the time that its ORM takes.

Whole, or as a sketch: what a trial came to, without what it trains.
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Table, func, or_, select

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
    of_study = studies.c.study_id == study_id
    if connection.execute(select(studies.c.study_id).where(of_study)).first() is None:
        raise KeyError(f"there is no study with id {study_id}")
    later = trials.c.study_id == study_id, trials.c.trial_id > after
    named = {trial_id for trial_id in beside if trial_id <= after}
    if known:
        named |= set(connection.execute(select(trials.c.trial_id).where(*later)).scalars())
    with collecting_later():
        found = [] if known else _read(connection, *later)
        found += [known[trial_id] for trial_id in named & known.keys()]
        for some in _chunks(named - known.keys()):
            found += _read(connection, trials.c.trial_id.in_(some))
    return sorted(found, key=trial_id_of)


def read_trial(connection: Connection, trial_id: int) -> FrozenTrial:
    """Return one trial.

    Raises:
        KeyError: if there is none.
    """
    if found := _read(connection, trials.c.trial_id == trial_id):
        return found[0]
    raise KeyError(f"there is no trial with id {trial_id}")


def read_numbered(
    connection: Connection, study_id: int, numbers: Iterable[int]
) -> list[FrozenTrial]:
    """Return the trials of a study that have these numbers; those that are not there are not."""
    found = []
    for some in _chunks(numbers):
        found += _read(connection, trials.c.study_id == study_id, trials.c.number.in_(some))
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
    of_study = trials.c.study_id == study_id
    with collecting_later():
        if not without:
            return _sketch(connection, steps, attributes, of_study)
        numbers = connection.execute(select(trials.c.number).where(of_study)).scalars()
        found = []
        for some in _chunks(number for number in numbers if number not in without):
            found += _sketch(connection, steps, attributes, of_study, trials.c.number.in_(some))
        return found


def waiting_trials(
    connection: Connection, study_id: int
) -> Iterator[tuple[int, datetime | None, int]]:
    """Yield id, beginning and number of reports of each trial that has begun and waits."""
    query = (
        select(trials.c.trial_id, trials.c.datetime_start, func.count())
        .join(reports, reports.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == TrialState.WAITING)
        .group_by(trials.c.trial_id, trials.c.datetime_start)
    )
    for trial_id, begun, count in connection.execute(query).all():
        yield trial_id, _local(begun), count


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


def _read(connection: Connection, *which: ColumnElement[bool]) -> list[FrozenTrial]:
    """Return the trials of which some conditions on their table hold."""
    columns = "trial_id", "number", "state", "datetime_start", "datetime_complete"
    found = connection.execute(select(*(trials.c[name] for name in columns)).where(*which)).all()
    if not found:
        return []

    def of(table: Table, *names: str) -> dict[int, list[Any]]:
        return _rows(connection, table, names, *which)

    stored_params = of(params, "param_name", "param_value", "distribution_json")
    final = of(values, "value", "value_type", "objective")
    reported = of(reports, "step", "intermediate_value", "intermediate_value_type")
    theirs, own = (of(table, "key", "value_json") for table in (user_attributes, system_attributes))
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=_values(final[trial_id]) if trial_id in final else None,
            datetime_start=_local(begun),
            datetime_complete=_local(ended),
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


def _sketch(
    connection: Connection,
    steps: Collection[int],
    attributes: Collection[str],
    *which: ColumnElement[bool],
) -> list[Sketch]:
    """Return the trials of which some conditions on their table hold."""
    columns = trials.c.trial_id, trials.c.number, trials.c.state
    found = connection.execute(select(*columns).where(*which)).all()
    others = reports.alias()
    last = select(func.max(others.c.step)).where(others.c.trial_id == reports.c.trial_id)
    wanted = or_(reports.c.step.in_(steps), reports.c.step == last.scalar_subquery())
    columns_of_report = "step", "intermediate_value", "intermediate_value_type"
    reported = _rows(connection, reports, columns_of_report, *which, wanted)
    final = _rows(connection, values, ("value", "value_type", "objective"), *which)
    of_key = user_attributes.c.key.in_(attributes)
    known = _rows(connection, user_attributes, ("key", "value_json"), *which, of_key)
    return [
        Sketch(
            trial_id,
            number,
            state,
            _values(final[trial_id])[0] if trial_id in final else None,
            _reports(reported.get(trial_id, ())),
            _attributes(known.get(trial_id, ())),
        )
        for trial_id, number, state in found
    ]


def _rows(
    connection: Connection, table: Table, names: Iterable[str], *which: ColumnElement[bool]
) -> dict[int, list[Any]]:
    """Return some columns of a table by trial, in the order in which they were stored."""
    query = (
        select(table.c.trial_id, *(table.c[name] for name in names))
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(*which)
        .order_by(next(iter(table.primary_key)))
    )
    found = defaultdict(list)
    for row in connection.execute(query).all():
        found[row[0]].append(row)
    return found


_distribution: Callable[[str], BaseDistribution] = lru_cache(maxsize=4096)(json_to_distribution)
"""A study has few, and each of its trials one for every parameter."""


def _values(rows: Iterable[Any]) -> list[float]:
    ordered = sorted((objective, read_value(value, kind)) for _, value, kind, objective in rows)
    return [value for _, value in ordered]


def _reports(rows: Iterable[Any]) -> dict[int, float]:
    return {step: read_report(value, kind) for _, step, value, kind in rows}


def _attributes(rows: Iterable[Any]) -> dict[str, Any]:
    return {key: json.loads(text) for _, key, text in rows}


def _local(time: datetime | None) -> datetime | None:
    """Return a time as Optuna shows it: stored in UTC, shown by the clock of this machine."""
    return time and time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
