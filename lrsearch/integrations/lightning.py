"""Lightning: a LightningModule as a task, and a schedule in a `Trainer` of one's own."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lrsearch.errors import LrsearchError, TaskError
from lrsearch.integrations.seeding import as_tensor, seed_all, seed_of
from lrsearch.integrations.turns import Turn, in_turns
from lrsearch.schedules import Schedule
from lrsearch.tasks import Progress


def lightning_callback(
    schedule: Schedule, total_steps: int | None = None, *, library: Any = None
) -> Any:
    """Return a callback for Lightning's `Trainer` that sets the rate before every update.

    It follows `Schedule.torch`, momentum included, and leaves the LightningModule as it is: one
    optimizer, no scheduler. `plateau` reads the `val_loss` that the module logs, or the metric that
    it names. A run resumed from a checkpoint goes on exactly.

    Args:
        schedule: what to follow.
        total_steps: the length of the run in updates; else what the trainer expects.
        library: `lightning.pytorch` or `pytorch_lightning`; else the first that is installed.

    Raises:
        LrsearchError: without Lightning; at the start of training, if there is not exactly one
            optimizer, or neither `total_steps` nor the trainer tells the length.
    """

    class ScheduleCallback((library or _lightning()).Callback):  # type: ignore[misc]
        """Sets the learning rate, and momentum where the schedule moves it, of every update."""

        def __init__(self) -> None:
            self.losses: list[float] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            steps = total_steps or trainer.estimated_stepping_batches
            if len(trainer.optimizers) != 1 or not math.isfinite(steps):
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
                self.losses.append(float(trainer.callback_metrics[schedule.family.watches()]))

        def state_dict(self) -> dict[str, Any]:
            return {"losses": list(self.losses)}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.losses = list(state_dict["losses"])

    return ScheduleCallback()


def lightning_task(module: Any, data: Any, *, max_epochs: int, **trainer: Any) -> LightningTask:
    """Make a task of a LightningModule and its data, which Lightning's `Trainer` trains.

    In place of `Trainer(max_epochs=10, **more).fit(module, data)` write
    `lightning_task(module, data, max_epochs=10, **more)`. Metrics are what the module logs, and
    `train_loss`, the mean loss of the batches, where it logs none of that name. The schedule sets
    the rate before every update; a scheduler of the module's own is taken away.

    Each epoch is seeded by the study's seed and its number, so a run that was interrupted goes on
    from its checkpoint (Lightning's own) with the same numbers; what a loader's worker processes
    draw in the first epoch after that is the exception. It trains on one device, the study's: "cpu"
    or "cuda". A prepended warmup is not supported, nor one that is adjusted as it trains, nor is
    manual optimization.
    `plateau` sees one `val_loss` an epoch, on short horizons too. Many trials on one GPU train one
    by one.

    Args:
        module: what makes a module, such as its class (then the seed decides its first weights), or
            a module, of which every run trains a copy: from its weights, whatever the seed.
        data: a LightningDataModule, or a loader of training data, or a pair of loaders (training,
            validation).
        max_epochs: the length of the full run.
        trainer: further arguments of Lightning's `Trainer`. Callbacks are copied for each run;
            one that stops training early breaks the comparison, so leave it out.

    Raises:
        TaskError: if the data does not say how many batches it has.

    Example:
        In place of `Trainer(max_epochs=10).fit(Classifier(), data)`::

            from lrsearch.integrations import lightning_task

            task = lightning_task(Classifier, data, max_epochs=10)
            search = lrsearch.optimize(task, trials=30, metric="val_loss")
    """
    return LightningTask(module, data, max_epochs, trainer)


@dataclass(frozen=True, eq=False)
class LightningTask:
    """What `lightning_task` returns; see there."""

    module: Any
    data: Any
    epochs: int
    trainer: Mapping[str, Any]

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch, as Lightning counts them."""
        loader = self.data
        if hasattr(self.data, "train_dataloader"):
            self.data.prepare_data()
            self.data.setup("fit")
            loader = self.data.train_dataloader()
        elif isinstance(self.data, tuple | list):
            loader = self.data[0]
        try:
            batches = len(loader)
        except TypeError:
            raise TaskError(
                f"a {type(loader).__name__} does not say how many batches it has, and a schedule "
                "needs a run of known length; give a DataLoader of a data set with a length"
            ) from None
        limit = self.trainer.get("limit_train_batches", 1.0)
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return math.ceil(batches / int(self.trainer.get("accumulate_grad_batches", 1)))

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train with Lightning; see `lrsearch.tasks.Task.run`."""
        yield from in_turns(partial(self._fit, schedule, epochs, seed, device, state))

    def _fit(
        self,
        schedule: Schedule,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None,
        turn: Turn,
    ) -> None:
        seed_all(seed, 0)
        module = self._fresh()
        library = _lightning_of(module)
        options = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **self.trainer,
            "accelerator": "gpu" if device.startswith("cuda") else "cpu",
            "devices": 1,
            "max_epochs": epochs,
            "callbacks": [
                *copy.deepcopy(self.trainer.get("callbacks") or []),
                lightning_callback(schedule, library=library),
                _turns(library, turn, epochs * self.steps_per_epoch, seed),
            ],
        }
        loaders = self.data if isinstance(self.data, tuple | list) else (self.data,)
        with _quiet(), TemporaryDirectory(prefix="lrsearch-") as folder:
            trainer = library.Trainer(**{"default_root_dir": folder, **options})
            path, own = None, dict[str, Any]()
            if state is not None:
                path = str(Path(folder, "resumed.ckpt"))
                Path(path).write_bytes(state["checkpoint"].numpy().tobytes())
            if "weights_only" in inspect.signature(trainer.fit).parameters:
                own["weights_only"] = False  # the checkpoint is this task's own
            trainer.fit(module, *loaders, ckpt_path=path, **own)

    def _fresh(self) -> Any:
        """Return a module of the run's own."""
        if not hasattr(self.module, "configure_optimizers") or isinstance(self.module, type):
            return self.module()
        try:
            attached = self.module.trainer
        except RuntimeError:
            attached = None
        return copy.deepcopy(self.module, {id(attached): None} if attached else None)


def _turns(library: Any, turn: Turn, total_steps: int, seed: int) -> Any:
    """Return the callback that shows every epoch, and seeds it."""

    class Turns(library.Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if not pl_module.automatic_optimization:
                raise TaskError("the module optimizes by hand, where no callback can set the rate")
            if (steps := trainer.estimated_stepping_batches) != total_steps:
                raise TaskError(
                    f"the run has {total_steps} updates by its data, but Lightning counts {steps}; "
                    "leave max_steps and the like out"
                )
            trainer.lr_scheduler_configs.clear()

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            seed_all(seed, trainer.current_epoch)
            _seed_order(trainer.train_dataloader, seed_of(seed, trainer.current_epoch))
            self.losses: list[Any] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            turn.check()
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None:
                self.losses.append(loss.detach())

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            epoch = trainer.current_epoch + 1
            metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
            if self.losses:
                mean = float(sum(self.losses) / len(self.losses))
                if not math.isfinite(mean):
                    metrics["train_loss"] = mean
                metrics.setdefault("train_loss", mean)
            turn.show(Progress(epoch, metrics, capture=partial(_checkpoint, trainer, epoch)))

    return Turns()


def _seed_order(loader: Any, seed: int) -> None:
    """Seed a loader's order, and keep what it draws when it begins out of the other generators.

    Lightning begins a run's first epoch before it says so, and all others after that.
    """
    from torch import Generator
    from torch.utils.data import RandomSampler

    if isinstance(sampler := getattr(loader, "sampler", None), RandomSampler):
        loader.generator = Generator()
        sampler.generator = Generator().manual_seed(seed)


def _checkpoint(trainer: Any, epoch: int) -> dict[str, Any]:
    """Return Lightning's checkpoint as a tensor of bytes."""
    with TemporaryDirectory(prefix="lrsearch-") as folder:
        path = Path(folder, "epoch.ckpt")
        trainer.save_checkpoint(path)
        return {"epoch": epoch, "checkpoint": as_tensor(path.read_bytes())}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from telling at every run which devices there are."""
    loggers = [
        logging.getLogger(name)
        for name in (
            "lightning.pytorch.utilities.rank_zero",
            "pytorch_lightning.utilities.rank_zero",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _lightning_of(module: Any) -> Any:
    """Return the library that a module is one of: it goes by two names."""
    names = {cls.__module__.partition(".")[0] for cls in type(module).__mro__}
    return import_module("pytorch_lightning") if "pytorch_lightning" in names else _lightning()


def _lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in ("lightning", "pytorch_lightning"):
                raise
    raise LrsearchError("a Lightning callback needs Lightning: pip install lightning")
