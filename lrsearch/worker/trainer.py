"""How a worker trains its trials: in groups, where a trial alone is a group of one.

A pack for which the device has too little memory is halved, and no trial is lost: each goes on from
its last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from optuna.trial import TrialState

from lrsearch.errors import LrsearchError, RankLostError, StorageError, TaskError
from lrsearch.storage import DATABASE_ERRORS, Lease, LeaseLost, ended_among
from lrsearch.study import Attribute, Study
from lrsearch.tasks import Progress, out_of_memory, run_task
from lrsearch.worker.callbacks import Callbacks
from lrsearch.worker.checkpoints import Checkpoints
from lrsearch.worker.grouping import Grouping
from lrsearch.worker.recorder import TrialRecorder
from lrsearch.worker.study_tasks import StudyTasks
from lrsearch.worker.trial import Decision, Outcome, Pause, Run, TrialInTraining

log = logging.getLogger(__name__)

STORAGE_FAILURES = (*DATABASE_ERRORS, StorageError)
"""No fault of a trial's: it is still its worker's, or another's."""
Rounds = Generator[dict[int, Progress]]
"""After each epoch of a group the progress of each member, by its place in the group."""
NextProgress = Callable[[Rounds], dict[int, Progress] | None]
"""Takes the next round of a group; `None` at its end. A worker's can be interrupted."""


SWEEP = 60.0
"""Seconds between two looks for what is left in a store elsewhere."""
MAX_CRASHES = 3
"""Workers that may die with a trial before it has failed: no configuration may end a study."""
_CRASHED = (
    "{count} workers died with it, one after the other, before it had trained another epoch; run "
    "its schedule alone to see why (out of memory on this machine, or a crash below Python)"
)


class Group(Protocol):
    """Runs that train together; `lrsearch.tasks.packs.Pack` is one."""

    def run(self) -> Rounds:
        """Train, and yield after every epoch the progress of each that trains on."""
        ...

    def keep(self, numbers: Collection[int]) -> None:
        """Let only these train on."""
        ...


class SingleRun:
    """A group of one: a run that its task trains by itself."""

    def __init__(self, run: Run, device: str) -> None:
        self._run = run
        self._device = device
        self._kept = True

    def run(self) -> Rounds:
        """Train, and yield after every epoch, until it is not kept."""
        run = self._run
        epochs = run_task(
            run.task,
            run.schedule,
            epochs=run.epochs,
            seed=run.seed,
            device=self._device,
            state=run.state,
        )
        with closing(epochs):
            for progress in epochs:
                yield {0: progress}
                if not self._kept:
                    return

    def keep(self, numbers: Collection[int]) -> None:
        """Let it train on, or not."""
        self._kept = 0 in numbers


@dataclass
class Member:
    """A leased trial; not `packable` if its warmup makes the run longer, or is adjusted as it
    trains, or if it failed in a pack."""

    lease: Lease
    trial: TrialInTraining
    packable: bool = True

    @property
    def run(self) -> Run:
        """The run that it wants."""
        assert isinstance(self.trial.wants, Run)
        return self.trial.wants


class Trainer:
    """Trains the trials that a worker has leased to their ends.

    Args:
        study: the study.
        tasks: what its trials train.
        device: a torch device, or all that train each trial.
        grouping: how many train together, and how.
        next_progress: takes the next round of a group.
        check: called between trials that begin; a worker's raises where it is to leave.
        on_pause: called with the lease of a trial that is to wait.
        on_end: called when a trial is over with its lease, and whether it failed.
        callbacks: told of every epoch, and of every trial that is over.
    """

    def __init__(
        self,
        study: Study,
        tasks: StudyTasks,
        device: str,
        grouping: Grouping,
        *,
        next_progress: NextProgress,
        check: Callable[[], None],
        on_pause: Callable[[Lease], None],
        on_end: Callable[[Lease, bool], None],
        callbacks: Callbacks | None = None,
    ) -> None:
        self.study = study
        self.tasks = tasks
        self.device = device
        self.grouping = grouping
        self.next_progress = next_progress
        self.check = check
        self.on_pause = on_pause
        self.on_end = on_end
        self.callbacks = callbacks or Callbacks(study)
        self.checkpoints = Checkpoints(study.checkpoints)
        self._next_sweep = 0.0

    def sweep(self) -> None:
        """Remove the checkpoints of trials whose workers died between ending and removing them.

        A store elsewhere, which takes time to answer, is looked at once a minute.
        """
        if self.checkpoints.remote and time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + SWEEP
        with suppress(OSError, StorageError):
            if left := self.checkpoints.trials():
                for number in ended_among(self.study.storage, self.study.study_id, left):
                    self.checkpoints.remove(number)

    def train(self, leases: Sequence[Lease]) -> None:
        """Train trials to their ends, from the shortest horizon on.

        A trial that fails is stored as failed, and the others go on. A trial whose lease is lost is
        left alone, and nothing more is written to it.

        Raises:
            RankLostError: if a process that trained together with this one has died.
        """
        members = self._begin(leases)
        while waiting := [m for m in members if isinstance(m.trial.wants, Run)]:
            group = self._next_group(waiting)
            try:
                self._train_group(group)
            except (*STORAGE_FAILURES, RankLostError):
                raise
            except Exception as error:
                self._recover(group, error)

    def _begin(self, leases: Sequence[Lease]) -> list[Member]:
        """Suggest each trial's schedule, with what is known of those before it."""
        members = []
        with self._caching_reads():
            for lease in leases:
                self.check()
                if member := self._begin_one(lease):
                    members.append(member)
        return members

    def _begin_one(self, lease: Lease) -> Member | None:
        """Return a trial that is to be trained; `None` if it was lost, or failed as it began."""
        recorder = TrialRecorder(self.study, self.checkpoints, lease)
        if lease.crashes >= MAX_CRASHES:
            self._fail(lease, TaskError(_CRASHED.format(count=lease.crashes)))
            return None
        try:
            with self.study.storage.guarded(lease.check):
                optuna_trial = self.study.trial(lease.trial_id, lease.number)
                trial = TrialInTraining(self.tasks, optuna_trial, recorder, lease.rung)
        except STORAGE_FAILURES:
            raise
        except LeaseLost:
            _log_lost(lease)
            return None
        except Exception as error:
            self._fail(lease, error)
            return None
        warmup = trial.schedule.warmup
        alone = warmup is not None and (warmup.prepend or warmup.adjust)
        member = Member(lease, trial, packable=not alone)
        self._step(member, lambda: None)  # one that is a duplicate is over
        return member

    def _next_group(self, waiting: Sequence[Member]) -> list[Member]:
        """Return members that can train together, those with the fewest epochs first."""

        def key(member: Member) -> tuple[int, int, int]:
            state = member.run.state if self.grouping.packs else None
            return member.run.epochs, state["epoch"] if state else 0, member.run.seed

        first = min(waiting, key=key)
        same = [
            member
            for member in waiting
            if key(member) == key(first)
            and member.run.task is first.run.task
            and member.packable == first.packable
        ]
        return same[: self.grouping.size if first.packable else 1]

    def _train_group(self, group: Sequence[Member]) -> None:
        """Train the runs that some members want, until each has ended or wants another."""
        runs = [member.run for member in group]
        together = self._together(group, runs)
        with closing(together.run()) as rounds:
            while (epoch := self.next_progress(rounds)) is not None:
                for place, progress in epoch.items():
                    self._step(group[place], partial(self._epoch, group[place].trial, progress))
                with self._caching_reads():
                    for place in epoch:  # now all have reported
                        if isinstance(group[place].trial.wants, Decision):
                            self._step(group[place], group[place].trial.decide)
                together.keep([place for place in epoch if group[place].trial.wants is runs[place]])
        for member, run in zip(group, runs, strict=True):
            if member.trial.wants is run:
                member.trial.end_of_run()

    def _epoch(self, trial: TrialInTraining, progress: Progress) -> None:
        self.callbacks.epoch(trial.epoch(progress))

    def _together(self, group: Sequence[Member], runs: Sequence[Run]) -> Group:
        run = runs[0]
        if not self._packs(group):
            return SingleRun(run, self.device)
        from lrsearch.tasks import Supervised
        from lrsearch.tasks.packs import Pack

        assert isinstance(run.task, Supervised)
        return Pack(
            run.task,
            [each.schedule for each in runs],
            epochs=run.epochs,
            seed=run.seed,
            device=self.device,
            states=[each.state for each in runs],
        )

    def _packs(self, group: Sequence[Member]) -> bool:
        return self.grouping.packs and group[0].packable

    def _step(self, member: Member, act: Callable[[], None]) -> None:
        """Let a trial go a step under its lease; where that ends it, tell Optuna, end the lease."""
        trial, lease = member.trial, member.lease
        try:
            with self.study.storage.guarded(lease.check):
                act()
                if isinstance(trial.wants, Pause):
                    trial.abandon()
                    self._remove_checkpoints(lease.number)
                    self.on_pause(lease)
                    return
                if not isinstance(trial.wants, Outcome):
                    return
                self._keep_stability(trial)
                outcome = trial.wants
                self.study.optuna.tell(lease.number, outcome.value, outcome.state)
        except LeaseLost:
            trial.abandon()
            _log_lost(lease)
            return
        self._end(lease, failed=False)
        value = "" if outcome.value is None else f", {outcome.value:.6g}"
        log.info("trial %d has ended: %s%s", lease.number, outcome.state.name.lower(), value)

    def _fail(self, lease: Lease, error: Exception) -> None:
        """Store that a trial failed, and why."""
        message = _message(error)
        traceback = None if isinstance(error, LrsearchError) else error
        log.error("trial %d failed: %s", lease.number, message, exc_info=traceback)
        try:
            with self.study.storage.guarded(lease.check):
                storage = self.study.storage
                storage.set_trial_user_attr(lease.trial_id, Attribute.ERROR, message)
                self.study.optuna.tell(lease.number, state=TrialState.FAIL)
        except LeaseLost:
            _log_lost(lease)
            return
        self._end(lease, failed=True)

    def _end(self, lease: Lease, *, failed: bool) -> None:
        self._remove_checkpoints(lease.number)
        self.on_end(lease, failed)
        self.callbacks.trial(lease.number)

    def _remove_checkpoints(self, trial: int) -> None:
        """Remove what a trial has left; what cannot be reached now is swept later."""
        try:
            self.checkpoints.remove(trial)
        except (OSError, StorageError) as error:
            log.warning("the checkpoints of trial %d stay: %s", trial, error)

    def _recover(self, group: Sequence[Member], error: Exception) -> None:
        """Go on after a group has failed: with fewer together, each alone, or without the trial."""
        left = [m for m in group if isinstance(m.trial.wants, Run | Decision)]
        if not self._packs(group):
            for member in left:
                if member.trial.start_over():  # of another network, or of another version
                    log.warning("trial %d starts over: %s", member.lease.number, _message(error))
                    continue
                self._fail(member.lease, error)
                member.trial.abandon()
            return
        if out_of_memory(error) and len(group) > 1:
            self.grouping = Grouping(len(group) // 2, packs=True)
            log.warning("out of memory with %d trials; on with %d", len(group), len(group) // 2)
        else:
            log.warning("%d trials go on alone: %s", len(left), error)
            for member in left:
                member.packable = False
        for member in left:
            member.trial.reload()

    def _keep_stability(self, trial: TrialInTraining) -> None:
        """Keep the trial's largest gradient norm and loss jump, where its task measures them."""
        rows = trial.recorder.rows()
        measured = [row.metrics for row in rows if "loss_jump" in row.metrics]
        if measured:
            worst = max(measured, key=lambda metrics: metrics["loss_jump"])
            largest = {name: worst[name] for name in ("loss_jump", "loss_jump_step")}
            largest["grad_norm"] = max(metrics["grad_norm"] for metrics in measured)
            last = [row for row in rows if not trial.rungs[row.run].check][-1]
            ends = {
                "loss": last.metrics.get("val_loss"),
                "baseline": trial.trial.user_attrs.get(Attribute.BASELINE),
            }
            trial.trial.set_user_attr(Attribute.STABILITY, largest | ends)

    def _caching_reads(self) -> AbstractContextManager[None]:
        return self.study.storage.caching_reads(self.study.study_id)


def _log_lost(lease: Lease) -> None:
    log.warning("trial %d was taken over, or finished or deleted by hand", lease.number)


def _message(error: Exception) -> str:
    """Return what a trial failed by, with advice where the device ran out of memory."""
    if out_of_memory(error):
        return f"out of memory: {error}; lower task.batch_size, or start fewer workers per device"
    return str(error) if isinstance(error, LrsearchError) else f"{type(error).__name__}: {error}"
