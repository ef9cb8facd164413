"""What figures show of a study, read from its storage once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from lrsearch.evaluation import Confirmation, find_answer, find_confirmation
from lrsearch.search import Rung
from lrsearch.storage import LeaseSpan, RunEnd, read_lease_spans, read_run_ends
from lrsearch.study import Answer, Study, StudySpec, TrialRecord, ranked

OUTCOMES = ("complete", "pruned", "failed to train", "diverged")
"""How a trial ends that says something of its schedule: it did not fail."""


_MIN_GOOD = 5
"""Complete trials from which it makes sense to speak of good ones."""
ZOOMED = "the better half; double-click for all"
"""What a figure says that shows the good values alone."""


MANY = 3000
"""Points of a figure: more lie over each other, and make it slow."""
_ALWAYS = 10
"""The best trials, which always have theirs."""
Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return at most so many items, the first and every so manieth after it.

    Example:
        >>> evenly(range(10), 4)
        range(0, 10, 3)
    """
    return items[:: max(1, -(-len(items) // most))]


@dataclass(frozen=True)
class StudyData:
    """A study as figures see it; each figure is a function of one.

    Args:
        name: the study's name.
        spec: what it is.
        rungs: the runs of a trial.
        trials: those that have a schedule, with their epochs.
        lease_spans: each time that a worker took one of them, in order.
        run_ends: their runs, in the order in which they ended.
        answer: which trial is handed over, and how sure we are of it; none yet if `None`.
        confirmation: the newest on fresh seeds, if there is one.
        still: whether figures are to be pictures: nobody can zoom out of those, so they show all.
    """

    name: str
    spec: StudySpec
    rungs: Sequence[Rung]
    trials: Sequence[TrialRecord]
    lease_spans: Sequence[LeaseSpan]
    run_ends: Sequence[RunEnd] = ()
    answer: Answer | None = None
    confirmation: Confirmation | None = None
    still: bool = False

    @property
    def metric(self) -> str:
        """The name of what trials are compared by."""
        return self.spec.study.metric

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.spec.study.direction == "maximize"

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The complete trials, best first."""
        complete = [trial for trial in self.trials if trial.outcome == "complete"]
        return ranked(complete, maximize=self.maximize)

    @cached_property
    def valued(self) -> list[TrialRecord]:
        """The finished trials that have a value: complete ones and pruned ones."""
        return [t for t in self.trials if t.outcome in OUTCOMES and t.value is not None]

    @cached_property
    def families(self) -> list[str]:
        """The families that have trials, the one with the best trial first."""
        names = {trial.family for trial in self.trials}
        return list(dict.fromkeys([t.family for t in self.ranked] + sorted(names)))

    @cached_property
    def good(self) -> tuple[float, float] | None:
        """The values that are worth a closer look: from the median of complete trials to the best.

        `None` where that is nearly all of them, and for pictures.
        """
        if self.still or len(self.ranked) < _MIN_GOOD:
            return None
        best, middle = self.ranked[0].value, self.ranked[len(self.ranked) // 2].value
        values = [trial.value for trial in self.valued if trial.value is not None]
        if best is None or middle is None or best == middle:
            return None
        pad = 0.15 * abs(best - middle)
        low, high = min(best, middle) - pad, max(best, middle) + pad
        return (low, high) if max(values) - min(values) > 2 * (high - low) else None

    def shown(self, trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Return the trials that have a point in a figure: all, or so many and the best."""
        best = {trial.number for trial in self.ranked[:_ALWAYS]}
        chosen = {trial.number for trial in evenly(trials, MANY)} | best
        return [trial for trial in trials if trial.number in chosen]

    def saved(self, trial: TrialRecord) -> int:
        """Return how many epochs of a full run a trial did not take, or (negative) took beside."""
        ended = trial.outcome in ("complete", "pruned")
        return (self.rungs[-1].epochs - len(trial.epochs)) * ended


def read_data(study: Study, *, still: bool = False) -> StudyData:
    """Read what figures show of a study; for pictures if they are to be `still`."""
    trials = [trial for trial in study.records(epochs=True) if trial.schedule]
    ids = {trial.id for trial in trials}
    spans = read_lease_spans(study.storage, study.study_id)
    return StudyData(
        name=study.name,
        spec=study.spec,
        rungs=study.rungs,
        trials=trials,
        lease_spans=[span for span in spans if span.trial_id in ids],
        run_ends=read_run_ends(study.storage, study.study_id),
        answer=find_answer(study),
        confirmation=find_confirmation(study),
        still=still,
    )
