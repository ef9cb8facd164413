"""A worker's trials in packs: those that want the same horizon train together on one device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.devices import out_of_memory
from lrsearch.errors import StorageError
from lrsearch.objective import Run, Steps
from lrsearch.storage import Lease, LeaseLost
from lrsearch.tasks import Progress
from lrsearch.worker.leased import LeasedTrials

log = logging.getLogger(__name__)

STORAGE_FAILURES = (SQLAlchemyError, StorageInternalError, StorageError)
"""No fault of a trial's: it is still its worker's, or another's."""
AdvancePack = Callable[[Iterator[dict[int, Progress]]], dict[int, Progress] | None]
"""Takes the next round of a pack; `None` at its end. A worker's can be interrupted."""


@dataclass
class _Member:
    """A leased trial, the run that it wants (if any), and the state to go on from in it."""

    lease: Lease
    trial: optuna.Trial
    steps: Steps
    wanted: Run | None = None
    state: dict[str, Any] | None = None
    ended: bool = False


class PackedTrials:
    """Trains the trials of several leases together, each still a trial of its own.

    Args:
        trials: trains them alone, and knows how they are kept.
        size: how many train together at most, halved whenever the device has not the memory; 0
            where every trial trains alone.
        advance: how to take the next round of a pack.
        check: called between trials that begin; a worker's raises where it is to leave.
        ended: called with a lease when its trial has finished.
    """

    def __init__(
        self,
        trials: LeasedTrials,
        size: int,
        advance: AdvancePack,
        check: Callable[[], None],
        ended: Callable[[Lease], None],
    ) -> None:
        self.trials = trials
        self.size = size
        self.advance = advance
        self.check = check
        self.ended = ended

    def train(self, leases: Sequence[Lease]) -> list[Lease]:
        """Train trials to their ends, from the shortest horizon on.

        A lease that is lost is left alone, and nothing more is written to its trial.

        Returns:
            The leases whose trials must train alone, from their last checkpoints: those that failed
            in a pack, that a pack cannot hold, or that the device has no memory for.
        """
        if self.size == 0:
            return list(leases)
        members, alone = self._begin(leases)
        while waiting := [member for member in members if member.wanted]:
            group = self._group(waiting)
            try:
                self._train_group(group)
            except STORAGE_FAILURES:
                raise
            except Exception as error:
                left = [member for member in group if not member.ended]
                if out_of_memory(error) and len(group) > 1:
                    self.size = len(group) // 2
                    log.warning("out of memory with %d trials; on with %d", len(group), self.size)
                    for member in left:
                        member.state = self.trials.keeper(member.lease).load()[1]
                    continue
                log.warning("%d trials go on alone: %s", len(left), error)
                for member in left:
                    alone.append(member.lease)
                    member.wanted = None
        return alone

    def _begin(self, leases: Sequence[Lease]) -> tuple[list[_Member], list[Lease]]:
        """Suggest each trial's schedule, with what is known of those before it.

        Returns:
            The members, and the leases whose trials fail in that and must train alone.
        """
        members, alone = [], []
        with self._reading_once():
            for lease in leases:
                self.check()
                try:
                    members.append(self._begin_one(lease))
                except STORAGE_FAILURES:
                    raise
                except Exception as error:
                    log.warning("trial %d goes on alone: %s", lease.number, error)
                    alone.append(lease)
        return members, alone

    def _begin_one(self, lease: Lease) -> _Member:
        objective, keeper = self.trials.objective, self.trials.keeper(lease)
        with self.trials.study.storage.guarded(lease.check):
            trial = self.trials.study.trial(lease.trial_id, lease.number)
        member = _Member(lease, trial, objective.steps(trial, keeper))
        self._step(member, None)
        return member

    def _reading_once(self) -> AbstractContextManager[None]:
        study = self.trials.study
        return study.storage.reading_once(study.study_id)

    def _group(self, waiting: Sequence[_Member]) -> list[_Member]:
        """Return members that can train together, those with the fewest epochs first."""

        def key(member: _Member) -> tuple[int, int, int, int]:
            run, state = member.wanted, member.state
            assert run is not None
            return run.epochs, state["epoch"] if state else 0, run.seed, id(run.task)

        first = min(map(key, waiting))
        return [member for member in waiting if key(member) == first][: self.size]

    def _train_group(self, group: Sequence[_Member]) -> None:
        """Train the runs that some members want, until each has ended or wants another."""
        from lrsearch.tasks.pack import Pack
        from lrsearch.tasks.supervised import Supervised

        runs = [member.wanted for member in group]
        run = runs[0]
        assert run is not None
        assert isinstance(run.task, Supervised)
        pack = Pack(
            run.task,
            [each.schedule for each in runs if each],
            epochs=run.epochs,
            seed=run.seed,
            device=self.trials.objective.device,
            states=[member.state for member in group],
        )
        with closing(pack.run()) as rounds:
            while (told := self.advance(rounds)) is not None:
                for number, progress in told.items():
                    self._step(group[number], progress)
                with self._reading_once():
                    for number in told:  # now all have reported
                        if not group[number].ended and group[number].wanted is None:
                            self._step(group[number], None)
                pack.keep([number for number in told if group[number].wanted is runs[number]])

    def _step(self, member: _Member, progress: Progress | None) -> None:
        """Send a member its progress; note what it wants, or that it has ended."""
        lease = member.lease
        try:
            with self.trials.study.storage.guarded(lease.check):
                try:
                    wanted = member.steps.send(progress)
                except StopIteration as end:
                    self.trials.finish(lease, member.trial, end.value)
                    member.wanted, member.ended = None, True
            if member.ended:
                self.ended(lease)
                log.info("trial %d has ended", lease.number)
                return
        except LeaseLost:
            member.wanted, member.ended = None, True
            log.warning("trial %d was taken over, or finished or deleted by hand", lease.number)
            return
        if wanted is not None and wanted is not member.wanted:
            member.state = wanted.state
        member.wanted = wanted
