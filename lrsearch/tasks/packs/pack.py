"""A pack: trials of one horizon that train together, one batch for all of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from lrsearch.errors import TaskError
from lrsearch.schedules import Schedule
from lrsearch.tasks.curve import within_epoch
from lrsearch.tasks.history import History
from lrsearch.tasks.optimizers import build_optimizer
from lrsearch.tasks.packs.stack import Stack
from lrsearch.tasks.supervised import Supervised
from lrsearch.tasks.task import Progress, clock_of
from lrsearch.tasks.training import restored, run_state


@dataclass
class Member:
    """One trial of a pack."""

    schedule: Schedule
    alike: int
    """Members before it with the same schedule."""
    history: History
    losses: list[float] = field(default_factory=list)
    """The validation losses that the schedule has heard of."""
    coming: NDArray[np.float64] | None = None
    """Rate and momentum of the updates of the coming epoch [S, 2], where they are known by now."""

    @property
    def hears(self) -> bool:
        """Whether its rates depend on its losses."""
        return self.schedule.family.reads_losses

    def key(self, seed: int, epoch: int) -> int:
        """Return what its dropout draws from in an epoch, of 32 bits."""
        digest = crc32(json.dumps(self.schedule.to_dict(), sort_keys=True).encode())
        entropy = np.random.SeedSequence([seed, epoch, digest, self.alike])
        return int(entropy.generate_state(1)[0])


class Pack:
    """Trials of one task, one seed and one horizon that train together.

    A member's numbers are those of `Supervised.run` but for rounding, whoever else is in the pack,
    and a member may go on alone or in another pack from the state that its progress captures. All
    members begin with the same weights and see the same batches. Dropout draws each member's own,
    of the seed, the epoch and the schedule; whatever else a network draws is each member's own too,
    but depends on who is in the pack.

    Args:
        task: what is trained; `packing_obstacle` tells whether it can be.
        schedules: one for each member.
        epochs: how long the runs are; every schedule is trained whole in them.
        seed: of the weights, the order of the data, dropout.
        device: a torch device. On CUDA an update is one launch of a graph.
        states: what each member goes on from, all from the same epoch.

    Raises:
        TaskError: if the task cannot train so, or a schedule prepends a warmup or adjusts it.
        ValueError: if the states are of several epochs.
    """

    def __init__(
        self,
        task: Supervised,
        schedules: Sequence[Schedule],
        *,
        epochs: int,
        seed: int,
        device: str,
        states: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        states = states or [None] * len(schedules)
        begun = {state["epoch"] if state else 0 for state in states}
        if len(begun) != 1:
            raise ValueError(f"a pack's members must be at one epoch, but are at {sorted(begun)}")
        if any(schedule.warmup and schedule.warmup.prepend for schedule in schedules):
            raise TaskError("a prepended warmup makes a run longer than the others; train it alone")
        if any(schedule.adjusts for schedule in schedules):
            raise TaskError("a pack's rates are known an epoch ahead; adjust a warmup alone")
        self.task = task
        self.members = list(range(len(schedules)))
        """Who trains on; each keeps its number."""
        self._epoch, self._epochs, self._steps = begun.pop(), epochs, task.steps_per_epoch
        for schedule in schedules:
            task.check_watched(schedule)
        self._clock = clock_of(task, epochs)
        self._seed = seed
        self._training = task.start(seed=seed, device=device, lr=schedules[0].base_lr)
        baseline = task.baseline(self._training)
        self._all = [
            Member(schedule, schedules[:number].count(schedule), History(baseline))
            for number, schedule in enumerate(schedules)
        ]
        self._rows = list(self.members)  # who has which row of the stack
        self._host = task.start(seed=seed, device="cpu", lr=schedules[0].base_lr)
        """What a member's state is handed over in: taken from the device for all at once."""
        self._stack = Stack(self._training, task.named_metrics("val"), len(schedules), self._steps)
        for row, (member, state) in enumerate(zip(self._all, states, strict=True)):
            if state is not None:
                self._training.load_state_dict(state)
                self._stack.load(row)
                member.losses = list(state["scheduler"]["losses"])
                member.history = restored(member.history, state)
        self._look_ahead(self._epoch * self._steps)

    def run(self) -> Generator[dict[int, Progress]]:
        """Train, and yield after every epoch the progress of each member.

        It ends with the last epoch, or when no member is left, and gives the device its memory
        back. A member that has diverged says so and is dropped. Until the run goes on, `keep` may
        drop others, and a `Progress.capture` may be called.
        """
        try:
            while self.members and self._epoch < self._epochs:
                if self._rows != self.members:
                    self._stack.keep([self._rows.index(number) for number in self.members])
                    self._rows = list(self.members)
                epoch = self._train()
                self.keep([number for number, progress in epoch.items() if not progress.diverged])
                yield epoch
        finally:
            self._stack.release()

    def keep(self, numbers: Collection[int]) -> None:
        """Let only these members train on; the others cost nothing from then on."""
        self.members = [number for number in self.members if number in numbers]

    def _train(self) -> dict[int, Progress]:
        """Train an epoch; nothing waits for the device but evaluations that a schedule hears of."""
        stack, start = self._stack, self._epoch * self._steps
        stack.order.copy_(self._training.order(self._epoch).view_as(stack.order))
        keys = [self._all[number].key(self._seed, self._epoch) for number in self._rows]
        stack.keys.copy_(torch.tensor(keys))
        living = [self._all[number] for number in self._rows]
        hearing = [row for row, member in enumerate(living) if member.hears]
        rates = np.empty((self._steps, 2, len(living)))
        for row, member in enumerate(living):
            rates[..., row] = self._rates(member, start) if member.hears else member.coming
        done, end = start, start + self._steps
        validation: list[dict[str, float]] = []
        for update in range(start + 1, end + 1):
            heard = bool(hearing) and self._clock.ends_part(update)
            if not heard and update < end:
                continue
            stack.rates.copy_(torch.from_numpy(rates))
            stack.update(update - done)
            stack.evaluate()
            if update == end:
                self._look_ahead(end)  # while the device is at work
            done, validation = update, stack.evaluated()
            for row in hearing if heard else ():
                living[row].losses.append(validation[row][living[row].schedule.family.watches()])
                rates[done - start :, :, row] = self._rates(living[row], start)[done - start :]

        self._epoch += 1
        record = stack.record.cpu()
        return {
            number: self._progress(
                number, start, record[..., row], rates[:, 0, row], validation[row]
            )
            for row, number in enumerate(self._rows)
        }

    def _look_ahead(self, start: int) -> None:
        """Compute the rates of the coming epoch that no loss has a part in."""
        if start < self._epochs * self._steps:
            for number in self._rows:
                member = self._all[number]
                member.coming = None if member.hears else self._rates(member, start)

    def _rates(self, member: Member, start: int) -> NDArray[np.float64]:
        """Return a member's rates and momenta in the epoch from `start` on, float64[S, 2]."""
        own = self._stack.optimizer.momentum
        rates = np.empty((self._steps, 2))
        for index in range(self._steps):
            step = start + index
            # as ScheduleLR: momentum moves only where there is some
            momentum = self._clock.momentum(member.schedule, step) if own else None
            rates[index] = (
                self._clock.lr(member.schedule, step, member.losses),
                own if momentum is None else momentum,
            )
        return rates

    def _progress(
        self,
        number: int,
        start: int,
        record: torch.Tensor,
        lrs: NDArray[np.float64],
        validation: dict[str, float],
    ) -> Progress:
        """Return a member's progress, of what the stack recorded [S, 2 + M] and rates [S]."""
        losses, norms, *measured = record.unbind(1)
        named = dict(zip(self.task.batch_metrics, measured, strict=True))
        history = self._all[number].history
        metrics, bad = history.sum_up(losses, norms, start, named)
        curve = within_epoch({"train_loss": losses, **named}, start)
        if bad is not None:
            step, lr = start + bad, float(lrs[bad])
            return Progress(self._epoch, metrics, step=step, lr=lr, curve=curve)
        return Progress(
            self._epoch,
            metrics | validation,
            step=start + self._steps,
            lr=float(lrs[-1]),
            curve=curve,
            capture=partial(self._capture, number),
            test=partial(self._test, number),
            learned=history.learned(validation["val_loss"]),
            baseline=history.baseline,
        )

    def _capture(self, number: int) -> dict[str, Any]:
        """Return a member's state; it is a copy."""
        member, training = self._all[number], self._host
        assert not callable(self.task.optimizer)
        training.optimizer = build_optimizer(
            self.task.optimizer, training.network.parameters(), member.schedule.base_lr
        )
        self._stack.store(self._rows.index(number), training)
        time = self._clock.time(self._epoch * self._steps)
        scheduler = member.schedule.torch(training.optimizer, self._clock.length)
        scheduler.load_state_dict({"step": time, "losses": member.losses, "ratios": [1.0]})
        return deepcopy(run_state(self._epoch, training, scheduler, member.history))

    def _test(self, number: int) -> dict[str, float]:
        """Return a member's metrics on the test data."""
        self._stack.store(self._rows.index(number), self._training)
        return self._training.test(self.task.named_metrics("test"))
