"""Optuna's trials, read from its tables whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, func, select

from lrsearch.storage.optuna_private import (
    params,
    reports,
    studies,
    system_attributes,
    trial_id_of,
    trials,
    user_attributes,
    values,
)
from lrsearch.storage.trial_rows import (
    Which,
    attributes_by_key,
    chunks,
    collecting_later,
    final_values,
    reports_by_step,
    rows_of,
    trials_of,
)

_STUDY = select(studies.c.study_id).where(studies.c.study_id == bindparam("study"))
_LATER = select(trials.c.trial_id).where(
    trials.c.study_id == bindparam("study"), trials.c.trial_id > bindparam("after")
)
_WAITING = (
    select(trials.c.trial_id, trials.c.datetime_start, func.count())
    .join(reports, reports.c.trial_id == trials.c.trial_id)
    .where(trials.c.study_id == bindparam("study"), trials.c.state == TrialState.WAITING)
    .group_by(trials.c.trial_id, trials.c.datetime_start)
)


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
        for some in chunks(named - known.keys()):
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
    for some in chunks(numbers):
        found += _read(connection, "numbered", study=study_id, numbers=some)
    return found


def waiting_trials(connection: Connection, study_id: int) -> dict[int, tuple[datetime, int]]:
    """Return when each trial that has begun and waits began (in UTC), and how often it reported."""
    rows = connection.execute(_WAITING, {"study": study_id}).all()
    return {trial_id: (begun, count) for trial_id, begun, count in rows}


def _read(connection: Connection, condition: str, **given: Any) -> list[FrozenTrial]:
    """Return the trials of which a condition holds."""
    which = Which(condition, given)
    heads = trials_of(connection, which)
    if not heads:
        return []
    if len(heads) == 1:  # most reads are of the one that trains
        which = Which("one", {"id": heads[0].trial_id})
    stored_params = rows_of(connection, which, params)
    final = rows_of(connection, which, values)
    reported = rows_of(connection, which, reports)
    theirs, own = (
        rows_of(connection, which, table) for table in (user_attributes, system_attributes)
    )
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=final_values(final[trial_id]) if trial_id in final else None,
            datetime_start=local_time(begun),
            datetime_complete=local_time(ended),
            params={
                name: _distribution(text).to_external_repr(value)
                for _, name, value, text in stored_params.get(trial_id, ())
            },
            distributions={
                name: _distribution(text) for _, name, _, text in stored_params.get(trial_id, ())
            },
            user_attrs=attributes_by_key(theirs.get(trial_id, ())),
            system_attrs=attributes_by_key(own.get(trial_id, ())),
            intermediate_values=reports_by_step(reported.get(trial_id, ())),
            trial_id=trial_id,
        )
        for trial_id, number, state, begun, ended in heads
    ]


_distribution: Callable[[str], BaseDistribution] = lru_cache(maxsize=4096)(json_to_distribution)
"""A study has few, and each of its trials one for every parameter."""


def local_time(time: datetime | None) -> datetime | None:
    """Return a time as Optuna shows it: stored in UTC, shown by the clock of this machine."""
    return time and time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
