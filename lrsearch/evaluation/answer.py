"""What the answer of a search is: the confirmed winner, else the best trial."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.evaluation.confirmation import last_confirmation
from lrsearch.evaluation.summary import confirmed_rows
from lrsearch.study import Study, TrialRecord


@dataclass(frozen=True)
class Answer:
    """A trial that is handed over, and what it came to on fresh seeds, if it was the best there."""

    trial: TrialRecord
    confirmed: str | None = None


def read_answer(study: Study, number: int | None = None) -> Answer:
    """Return the confirmed winner, else the best trial; or the complete trial of that number.

    Raises:
        StudyError: if there is no such trial.
    """
    if number is not None:
        return Answer(study.complete(number))
    confirmation = last_confirmation(study)
    if confirmation and confirmation.winner and confirmation.winner.trial is not None:
        row = next(
            row for row in confirmed_rows(confirmation) if row[0] == confirmation.winner.name
        )
        confirmed = (
            f"{confirmation.metric} {row[2]} (95 %) on {len(confirmation.seeds)} fresh seeds"
        )
        return Answer(study.record(confirmation.winner.trial), confirmed)
    return Answer(study.best())
