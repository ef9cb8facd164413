"""A schedule in the training loops of other libraries, which are imported when asked for."""

from __future__ import annotations

from importlib import import_module
from math import isfinite
from typing import Any

from lrsearch.errors import LrsearchError
from lrsearch.schedules import Schedule


def lightning_callback(schedule: Schedule, total_steps: int | None = None) -> Any:
    """Return a callback for Lightning's `Trainer` that sets the rate before every update.

    It follows `Schedule.torch`, momentum included, and leaves the LightningModule as it is: one
    optimizer, no scheduler. `plateau` reads the `val_loss` that the module logs. A run resumed
    from a checkpoint goes on exactly.

    For transformers' `Trainer` there is nothing to add: `schedule.torch(optimizer, total_steps)`
    is a scheduler that its `optimizers=(optimizer, scheduler)` takes.

    Args:
        schedule: what to follow.
        total_steps: the length of the run in updates; else what the trainer expects.

    Raises:
        LrsearchError: without Lightning; at the start of training, if there is not exactly one
            optimizer, or neither `total_steps` nor the trainer tells the length.
    """

    class ScheduleCallback(_lightning().Callback):  # type: ignore[misc]
        """Sets the learning rate, and momentum where the schedule moves it, of every update."""

        def __init__(self) -> None:
            self.losses: list[float] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            steps = total_steps or trainer.estimated_stepping_batches
            if len(trainer.optimizers) != 1 or not isfinite(steps):
                raise LrsearchError(
                    "the schedule's callback needs one optimizer and a run with an end, but there "
                    f"are {len(trainer.optimizers)} and {steps} updates; give total_steps"
                )
            self.scheduler = schedule.torch(trainer.optimizers[0], int(steps))
            self.ratios = self.scheduler.ratios

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.scheduler.load_state_dict(  # the same for an update's second, accumulated batch
                {"step": trainer.global_step, "losses": self.losses, "ratios": self.ratios}
            )

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if schedule.family.reads_losses and not trainer.sanity_checking:
                self.losses.append(float(trainer.callback_metrics["val_loss"]))

        def state_dict(self) -> dict[str, Any]:
            return {"losses": list(self.losses)}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.losses = list(state_dict["losses"])

    return ScheduleCallback()


def _lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in ("lightning", "pytorch_lightning"):
                raise
    raise LrsearchError("a Lightning callback needs Lightning: pip install lightning")
