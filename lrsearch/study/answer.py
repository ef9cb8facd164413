"""The answer of a study: which schedule is handed over, and how sure we are of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lrsearch.study.records import TrialRecord


@dataclass(frozen=True)
class Confirmed:
    """What a schedule came to on fresh seeds, which no search has seen.

    `metric` is the test set's where there is one; `mean` is over so many `seeds`, and `error` half
    its 95 % interval, none where the seeds are too few for one. `beaten` are the schedules that it
    beats there, `tied` those that cannot be told apart from it; both of the search. `better` are
    those with a better mean there that are no trials of the search, as schedule-free ones.
    """

    metric: str
    mean: float
    error: float | None
    seeds: int
    beaten: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    better: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The mean with its interval, or what an interval takes."""
        few = "" if self.error is not None else ", too few for an interval (--seeds 5)"
        interval = "" if self.error is None else f" ± {self.error:.4f} (95 %)"
        return f"{self.metric} {self.mean:.4f}{interval} on {self.seeds} fresh seeds{few}"


@dataclass(frozen=True)
class Answer:
    """The schedule that is handed over: of the confirmed winner, else of the best trial.

    Args:
        trial: whose schedule it is.
        metric: what the search compared trials by.
        value: the mean of the trial's full runs by that metric; before there is one, what the trial
            came to in the longest run so far.
        seeds: on how many seeds the full runs were; 0 before there is one.
        expected: what it is expected to come to on other seeds, and `error` half the 95 % interval
            of that; both none where too few trials were trained on several seeds to tell.
        error: see `expected`.
        confirmed: what it came to on fresh seeds, where it was the best there.
        leads_now: the trial with the best mean now, where the search has found another since the
            confirmation; that is worth a confirmation of its own.
    """

    trial: TrialRecord
    metric: str
    value: float
    seeds: int
    expected: float | None = None
    error: float | None = None
    confirmed: Confirmed | None = None
    leads_now: int | None = None

    @property
    def searched(self) -> str:
        """What the search knows of it: the mean, its seeds, and what is expected on others."""
        known = f"{self.metric} {self.value:.4f} {self.known_from}"
        if self.expected is None:
            return known
        return f"{known}, {self.expected:.4f} ± {self.error:.4f} expected on others"

    @property
    def known_from(self) -> str:
        """What the value is known from, in words: so many seeds, or a shorter run only."""
        searched = self.seeds == len(self.trial.full_values)
        return self.trial.known_from if searched else f"mean of {self.seeds} seeds"

    @property
    def summary(self) -> str:
        """What is known of it: from fresh seeds where it is confirmed, else from the search."""
        if self.confirmed is None:
            return self.searched
        others = "; ".join(self.confirmed.better)
        better = f"; better there, and no trial: {others}" if others else ""
        return f"{self.confirmed.summary}, confirmed{better}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        assert self.trial.schedule is not None, "an answer has a schedule"
        return {
            "trial": self.trial.number,
            "metric": self.metric,
            "value": self.value,
            "seeds": self.seeds,
            "known_from": self.known_from,
            "expected": self.expected,
            "error": self.error,
            "confirmed": asdict(self.confirmed) if self.confirmed else None,
            "leads_now": self.leads_now,
            "params": dict(self.trial.params),
            "schedule": self.trial.schedule.to_dict(),
        }
