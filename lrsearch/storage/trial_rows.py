"""Rows of Optuna's tables, by trial: read in a tenth of the time that its ORM takes."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from lrsearch.storage.optuna_private import (
    params,
    read_report,
    read_value,
    reports,
    system_attributes,
    trials,
    user_attributes,
    values,
)

_AT_ONCE = 500
"""Trials that one statement names: databases bound the number of its parameters."""


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


def chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    """Yield as many ids or numbers at a time as one statement can name, in order."""
    ordered = sorted(ids)
    for first in range(0, len(ordered), _AT_ONCE):
        yield ordered[first : first + _AT_ONCE]


class Which(NamedTuple):
    """Trials to read: of what holds the name of one of `_CONDITIONS`, with values for it."""

    condition: str
    values: dict[str, Any]


_BY_ID: dict[str, Callable[[Column[int]], ColumnElement[bool]]] = {
    "these": lambda trial_id: trial_id.in_(bindparam("ids", expanding=True)),
    "one": lambda trial_id: trial_id == bindparam("id"),
}
"""Conditions on an id, which every table has: no other need be joined."""

_CONDITIONS = {
    **{name: condition(trials.c.trial_id) for name, condition in _BY_ID.items()},
    "later": and_(trials.c.study_id == bindparam("study"), trials.c.trial_id > bindparam("after")),
    "numbered": and_(
        trials.c.study_id == bindparam("study"),
        trials.c.number.in_(bindparam("numbers", expanding=True)),
    ),
}


_COLUMNS: dict[Table, tuple[str, ...]] = {
    params: ("param_name", "param_value", "distribution_json"),
    values: ("value", "value_type", "objective"),
    reports: ("step", "intermediate_value", "intermediate_value_type"),
    user_attributes: ("key", "value_json"),
    system_attributes: ("key", "value_json"),
}


def trials_of(connection: Connection, which: Which) -> Sequence[Any]:
    """Return the ids, numbers, states and times of trials."""
    return connection.execute(_heads(which.condition), which.values).all()


def rows_of(
    connection: Connection, which: Which, table: Table, *, narrowed: bool = False
) -> dict[int, list[Any]]:
    """Return the rows of a table by trial, in the order in which they were stored.

    Args:
        connection: in a transaction of the caller's.
        which: the trials.
        table: of `_COLUMNS`.
        narrowed: only reports at `steps` and the last, or attributes of `keys`; in `which`.
    """
    by_trial = defaultdict(list)
    query = _details(table, which.condition, narrowed)
    for row in connection.execute(query, which.values).all():
        by_trial[row[0]].append(row)
    return by_trial


# Statements are built once: to build one takes longer than to run it for one trial.


@cache
def _heads(condition: str) -> Select[Any]:
    columns = "trial_id", "number", "state", "datetime_start", "datetime_complete"
    return select(*(trials.c[name] for name in columns)).where(_CONDITIONS[condition])


@cache
def _details(table: Table, condition: str, narrowed: bool) -> Select[Any]:
    query = select(table.c.trial_id, *(table.c[name] for name in _COLUMNS[table]))
    if condition in _BY_ID:
        query = query.where(_BY_ID[condition](table.c.trial_id))
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


def final_values(rows: Iterable[Any]) -> list[float]:
    """Return what rows of `values` hold, by objective."""
    ordered = sorted((objective, read_value(value, kind)) for _, value, kind, objective in rows)
    return [value for _, value in ordered]


def reports_by_step(rows: Iterable[Any]) -> dict[int, float]:
    """Return what rows of `reports` hold."""
    return {step: read_report(value, kind) for _, step, value, kind in rows}


def attributes_by_key(rows: Iterable[Any]) -> dict[str, Any]:
    """Return what rows of attributes hold."""
    return {key: json.loads(text) for _, key, text in rows}
