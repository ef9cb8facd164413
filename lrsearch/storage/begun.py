"""The trials of a study that have begun, as what decides which of them goes on sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from optuna.trial import TrialState
from sqlalchemy import Connection, select

from lrsearch.storage.optuna_private import reports, trials, user_attributes
from lrsearch.storage.trial_reading import waiting_trials
from lrsearch.storage.trial_rows import (
    Which,
    attributes_by_key,
    chunks,
    collecting_later,
    reports_by_step,
    rows_of,
)

FAILED_TO_TRAIN = "failed_to_train"
"""The user attribute that says whether the last of a trial's runs ended no better than a guess."""

BegunState = Literal["waiting", "running", "complete", "pruned"]

_STATES: dict[TrialState, BegunState] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
}


class BegunTrial(NamedTuple):
    """A trial that has begun: its number, its reports by step, whether it waits, runs or has ended.

    `learned` is whether its last run ended better than a guess, as far as its task tells. One that
    waits has trained a rung, and may go on to the next or end. One that was pruned after a
    full run has diverged or failed to train on a further seed.
    """

    number: int
    reports: Mapping[int, float]
    state: BegunState
    learned: bool = True


class BegunTrials:
    """Reads the trials of a study that have begun; those that are as they were, it knows.

    Args:
        study_id: Optuna's id of the study.
    """

    def __init__(self, study_id: int) -> None:
        self.study_id = study_id
        self._known: dict[int, BegunTrial] = {}
        """By Optuna's id, what the last reading found."""

    def read(self, connection: Connection) -> list[BegunTrial]:
        """Return the trials that have begun and not failed, by number."""
        rows = connection.execute(
            select(trials.c.trial_id, trials.c.number, trials.c.state)
            .where(trials.c.study_id == self.study_id, trials.c.state != TrialState.FAIL)
            .order_by(trials.c.number)
        ).all()
        waiting = waiting_trials(connection, self.study_id)
        begun = {
            trial_id: (number, _STATES[state])
            for trial_id, number, state in rows
            if state != TrialState.WAITING or trial_id in waiting  # not only enqueued
        }
        reported = {trial_id: count for trial_id, (_, count) in waiting.items()}
        changed = [
            trial_id
            for trial_id, (_, state) in begun.items()
            if not self._is_as_it_was(trial_id, state, reported.get(trial_id))
        ]
        self._known |= _read(connection, {trial_id: begun[trial_id] for trial_id in changed})
        return [self._known[trial_id] for trial_id in begun]

    def _is_as_it_was(self, trial_id: int, state: BegunState, reported: int | None) -> bool:
        """Return whether a trial has ended before, or waits and has not trained since."""
        known = self._known.get(trial_id)
        if known is None or known.state != state or state == "running":
            return False
        return state != "waiting" or len(known.reports) == reported


def _read(
    connection: Connection, begun: Mapping[int, tuple[int, BegunState]]
) -> dict[int, BegunTrial]:
    """Return trials by Optuna's ids, whose numbers and states are known."""
    by_id = {}
    with collecting_later():
        for some in chunks(begun):
            which = Which("these", {"ids": some, "keys": [FAILED_TO_TRAIN]})
            reported = rows_of(connection, which, reports)
            failed = rows_of(connection, which, user_attributes, narrowed=True)
            for trial_id in some:
                number, state = begun[trial_id]
                attributes = attributes_by_key(failed.get(trial_id, ()))
                by_id[trial_id] = BegunTrial(
                    number,
                    reports_by_step(reported.get(trial_id, ())),
                    state,
                    learned=not attributes.get(FAILED_TO_TRAIN),
                )
    return by_id
