"""Sketches of trials: what each came to, without what it trains."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from typing import Any, NamedTuple

from optuna.trial import TrialState
from sqlalchemy import Connection, bindparam, select

from lrsearch.storage.optuna_private import reports, trials, user_attributes, values
from lrsearch.storage.storage import Storage
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

_NUMBERS = select(trials.c.number).where(trials.c.study_id == bindparam("study"))


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


def read_sketches(
    storage: Storage,
    study_id: int,
    steps: Collection[int],
    attributes: Collection[str],
    without: Container[int] = (),
) -> list[Sketch]:
    """Return what the trials of a study came to.

    Args:
        storage: where the study is.
        study_id: Optuna's id of the study.
        steps: of the reports that are wanted beside the last.
        attributes: the keys of the user attributes that are wanted.
        without: the numbers of trials that are known, and not to be read.
    """
    of_study = {"study": study_id}
    with storage.reading() as connection, collecting_later():
        if not without:
            return _sketch(connection, steps, attributes, "later", **of_study, after=-1)
        numbers = connection.execute(_NUMBERS, of_study).scalars()
        sketches = []
        for some in chunks(number for number in numbers if number not in without):
            sketches += _sketch(connection, steps, attributes, "numbered", **of_study, numbers=some)
        return sketches


def _sketch(
    connection: Connection,
    steps: Collection[int],
    attributes: Collection[str],
    condition: str,
    **given: Any,
) -> list[Sketch]:
    """Return the trials of which a condition holds."""
    which = Which(condition, given)
    heads = trials_of(connection, which)
    of_steps = Which(condition, given | {"steps": list(steps)})
    reported = rows_of(connection, of_steps, reports, narrowed=True)
    final = rows_of(connection, which, values)
    of_keys = Which(condition, given | {"keys": list(attributes)})
    known = rows_of(connection, of_keys, user_attributes, narrowed=True)
    return [
        Sketch(
            trial_id,
            number,
            state,
            final_values(final[trial_id])[0] if trial_id in final else None,
            reports_by_step(reported.get(trial_id, ())),
            attributes_by_key(known.get(trial_id, ())),
        )
        for trial_id, number, state, *_ in heads
    ]
