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
    last = last_confirmation(study)
    if last and last.winner and last.winner.trial is not None:
        row = next(row for row in confirmed_rows(last) if row[0] == last.winner.name)
        confirmed = f"{last.metric} {row[2]} (95 %) on {len(last.seeds)} fresh seeds"
        return Answer(study.record(last.winner.trial), confirmed)
    return Answer(study.best())
