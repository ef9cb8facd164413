"""What the answer of a study is, and how sure we are: whoever shows or writes it asks here."""

from __future__ import annotations

import math
from dataclasses import replace

from lrsearch.errors import StudyError
from lrsearch.evaluation.confirmation import (
    Confirmation,
    find_confirmation,
    read_confirmation,
)
from lrsearch.search import SeedModel
from lrsearch.study import Answer, Confirmed, Study, TrialRecord


def read_answer(study: Study, number: int | None = None) -> Answer:
    """Return the confirmed winner of a study, else its best trial; or the trial of that number.

    Of a study that confirms schedules itself it is the best by its mean over the seeds.

    Raises:
        StudyError: if there is no such trial, or no result yet.
    """
    confirmation = read_confirmation(study) if study.spec.confirm else find_confirmation(study)
    if study.spec.confirm and number is None and confirmation and confirmation.winner:
        return _of_confirmation(study, confirmation)
    of_search = confirmation.of_search if confirmation else None
    found = of_search.winner.trial if of_search and of_search.winner else None
    if number is None and found is None:
        return _of_search(study, study.best())
    trial = study.complete(found if number is None else number)  # type: ignore[arg-type]
    answer = _of_search(study, trial)
    if found != trial.number or confirmation is None or of_search is None:
        return answer
    best = study.best().number
    known = [entry.trial for entry in confirmation.entries]
    return replace(
        answer,
        confirmed=replace(_confirmed(of_search), better=_better(confirmation, of_search)),
        leads_now=None if best in known else best,
    )


def find_answer(study: Study) -> Answer | None:
    """Return the answer of a study, as `read_answer` does; `None` where there is none yet."""
    try:
        return read_answer(study)
    except StudyError:
        return None


def _of_search(study: Study, trial: TrialRecord) -> Answer:
    """Return what the search knows of one of its trials."""
    assert trial.value is not None
    model = SeedModel([t.full_values for t in study.results() if t.full_values])
    estimate = model.estimate(trial.full_values)
    return Answer(
        trial=trial,
        metric=study.spec.study.metric,
        value=trial.value,
        seeds=len(trial.full_values),
        expected=estimate.value if estimate else None,
        error=estimate.error if estimate else None,
    )


def _of_confirmation(study: Study, confirmation: Confirmation) -> Answer:
    """Return the winner of a study that confirms: of its runs, one for each seed, the first."""
    winner = confirmation.winner
    assert winner is not None
    entry = confirmation.entries.index(winner)
    first = next(trial for trial in study.records() if trial.entry == entry)
    values = list(winner.validation.values())
    return Answer(
        trial=study.record(first.number),
        metric=study.spec.study.metric,
        value=sum(values) / len(values),
        seeds=len(values),
        confirmed=_confirmed(confirmation),
    )


def _confirmed(confirmation: Confirmation) -> Confirmed:
    """Return what a confirmation says of its winner."""
    comparison = confirmation.comparison
    assert comparison is not None
    best = comparison.best
    error = float(comparison.high[best] - comparison.mean[best])
    others = [
        (entry.name, bool(tied))
        for index, (entry, tied) in enumerate(
            zip(confirmation.compared, comparison.indistinguishable, strict=True)
        )
        if index != best
    ]
    return Confirmed(
        metric=confirmation.metric,
        mean=float(comparison.mean[best]),
        error=error if math.isfinite(error) else None,
        seeds=len(confirmation.seeds),
        beaten=tuple(name for name, tied in others if not tied),
        tied=tuple(name for name, tied in others if tied),
    )


def _better(confirmation: Confirmation, of_search: Confirmation) -> tuple[str, ...]:
    """Return what did better than the best trial of the search and is none itself, the best first.

    Such as a constant rate with a schedule-free optimizer.
    """
    comparison, winner = confirmation.comparison, of_search.winner
    assert comparison is not None
    assert winner is not None
    order = [confirmation.compared[index] for index in comparison.difference.argsort()]
    return tuple(entry.name for entry in order[: order.index(winner)] if entry.trial is None)
