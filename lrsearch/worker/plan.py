"""What trials climb in a study, as the queue that gives them out asks for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from lrsearch.search import Climb, Rung, Standing
from lrsearch.storage import END, BegunTrial, Step
from lrsearch.study import Study

log = logging.getLogger(__name__)


class RungPlan:
    """Decides which trial of a study goes on; a `lrsearch.storage.Plan`.

    Args:
        climb: the rules.
    """

    def __init__(self, climb: Climb) -> None:
        self.climb = climb
        self._longer = False
        self._known: dict[int, tuple[BegunTrial, Standing]] = {}
        """By number, what was made of which; the queue shows one that is as it was again."""

    def step(
        self,
        trials: Sequence[BegunTrial],
        *,
        may_begin: bool,
        epochs_left: float,
        epochs_in_time: float = math.inf,
    ) -> Step | None:
        """Return what to give out next; `None` if all that is left to do is being done."""
        in_time = epochs_in_time + self.climb.rungs[-1].epochs  # what has begun goes on to its end
        standings = [self._as_it_was(trial) or self._standing(trial) for trial in trials]
        self._known = {t.number: (t, s) for t, s in zip(trials, standings, strict=True)}
        step = self.climb.step(
            standings,
            may_begin=may_begin,
            epochs_left=min(epochs_left, in_time),
            lengthened=self._begin_longer(standings),
        )
        if step is None:
            return None
        if step.rung is None:
            return Step(step.number, END, 0)
        return Step(step.number, step.rung, self.climb.rungs[step.rung].epochs)

    def due(self, trial: BegunTrial) -> Step:
        """Return the first rung that a trial has not trained."""
        rung = min(len(values_of(trial.reports, self.climb.rungs)), len(self.climb.rungs) - 1)
        return Step(trial.number, rung, self.climb.rungs[rung].epochs)

    def _begin_longer(self, standings: Sequence[Standing]) -> bool:
        """Return whether trials begin with a longer horizon; log once that they do, and why.

        Once they do it stays so, though before the first of them has reported what spoke for it may
        be gone: the trials that had learned nothing have gone on.
        """
        if not self._longer and (reason := self.climb.says_too_little(standings)):
            self._longer = True
            epochs = self.climb.rungs[self.climb.longer or 0].epochs
            log.info("%s: trials begin with %d epochs from now on", reason, epochs)
        return self._longer

    def _as_it_was(self, trial: BegunTrial) -> Standing | None:
        before, standing = self._known.get(trial.number, (None, None))
        return standing if before is trial else None

    def _standing(self, trial: BegunTrial) -> Standing:
        values = values_of(trial.reports, self.climb.rungs)
        if trial.state in ("waiting", "running"):
            return Standing(trial.number, values, trial.state, trial.learned)
        if trial.state == "pruned":  # if on a full run, it was infeasible, and is not the best
            values = values[: self.climb.first_full]
        return Standing(trial.number, values, "ended", trial.learned)


def values_of(reports: Mapping[int, float], rungs: Sequence[Rung]) -> tuple[float | None, ...]:
    """Return what a trial came to on each rung up to the last that it has reported.

    `None` for one that it has left out, and for a check that has stopped.
    """
    values = [reports.get(rung.step) for rung in rungs]
    while values and values[-1] is None:
        values.pop()
    return tuple(None if value is None or math.isnan(value) else value for value in values)


def plan_of(study: Study) -> RungPlan | None:
    """Return the plan of a study; `None` where each trial is trained to its end."""
    climb = study.climb
    return RungPlan(climb) if climb else None
