"""transformers' `Trainer` as a task, and our space in its own hyperparameter search."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lrsearch.errors import TaskError
from lrsearch.integrations.seeding import as_tensor
from lrsearch.integrations.turns import Turn, in_turns
from lrsearch.schedules import Schedule
from lrsearch.search import suggest_schedule
from lrsearch.tasks import Progress

_TIMES = ("runtime", "samples_per_second", "steps_per_second", "epoch", "model_preparation_time")
"""What the evaluation of a Trainer says beside its metrics."""


def trainer_task(trainer: Any) -> TrainerTask:
    """Make a task of transformers' `Trainer`, as it stands before its `train()`.

    The full run has the `num_train_epochs` of its arguments. After every epoch it evaluates:
    metrics are `train_loss` and those of the evaluation, `val_loss` for `eval_loss` and so on. The
    schedule takes the place of `lr_scheduler_type`, `warmup_steps` and `learning_rate`. Nothing is
    saved in `output_dir`, pushed to the hub or reported to trackers that the arguments name.

    A run that was interrupted goes on from its checkpoint (the Trainer's own) with the same
    numbers. The device is the Trainer's, which is chosen with its arguments (`use_cpu=True`); a
    study on another device is refused. A prepended warmup is not supported, nor one that is
    adjusted as it trains, nor are several GPUs.
    `plateau` sees one loss an epoch, on short horizons too. Many trials on one GPU train one by
    one.

    Args:
        trainer: with an `eval_dataset`. With `model_init` the seed decides the first weights; with
            `model` every run begins with the weights that it has now, whatever the seed. It keeps
            those weights at the end, and its own arguments.

    Raises:
        TaskError: if it has no evaluation data, no whole epochs, an optimizer of its own, or
            several devices.

    Example:
        In place of `trainer.train()`::

            from lrsearch.integrations import trainer_task

            search = lrsearch.optimize(trainer_task(trainer), trials=30)
    """
    args = trainer.args
    if args.max_steps > 0 or args.num_train_epochs != int(args.num_train_epochs):
        raise TaskError(
            f"a search needs a run of whole epochs, but max_steps is {args.max_steps} and "
            f"num_train_epochs {args.num_train_epochs}; set num_train_epochs alone"
        )
    if trainer.eval_dataset is None:
        raise TaskError("the Trainer has no eval_dataset to compare trials by; give it one")
    if trainer.optimizer is not None:
        raise TaskError(
            "the Trainer was given an optimizer, which no second run can train with; make it with "
            "TrainingArguments(optim=…) or optimizer_cls_and_kwargs"
        )
    if args.world_size > 1 or args.n_gpu > 1:
        raise TaskError(
            "a task trains on one device, but the Trainer has several; set CUDA_VISIBLE_DEVICES, "
            "and start a worker for each"
        )
    weights = None
    if trainer.model_init is None:
        weights = {k: v.detach().cpu().clone() for k, v in trainer.model.state_dict().items()}
    return TrainerTask(trainer, weights)


def trainer_space(
    trainer: Any,
    *,
    families: Sequence[str] | None = None,
    domains: Mapping[str, Any] | None = None,
) -> Callable[[Any], dict[str, float]]:
    """Return the `hp_space` that lets `Trainer.hyperparameter_search` search schedules.

    The trials are then transformers' and Optuna's, with neither horizons nor further seeds:
    `trainer_task` has both.

    Args:
        trainer: whose search it is, made with `model_init`.
        families: as in `lrsearch.suggest_schedule`.
        domains: as in `lrsearch.suggest_schedule`.

    Example:
        With an existing Trainer::

            from lrsearch.integrations import trainer_space

            best = trainer.hyperparameter_search(
                hp_space=trainer_space(trainer), backend="optuna", n_trials=20
            )
    """

    def hp_space(trial: Any) -> dict[str, float]:
        total_steps = steps_per_epoch_of(trainer) * int(trainer.args.num_train_epochs)
        schedule = suggest_schedule(trial, total_steps, families=families, domains=domains)
        trainer.create_scheduler = partial(_create_scheduler, trainer, schedule, total_steps)
        return {"learning_rate": schedule.base_lr}

    return hp_space


@dataclass(frozen=True, eq=False)
class TrainerTask:
    """What `trainer_task` returns; see there."""

    trainer: Any
    weights: Mapping[str, Any] | None

    @property
    def epochs(self) -> int:
        """The length of the full run."""
        return int(self.trainer.args.num_train_epochs)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch, as the Trainer counts them."""
        return steps_per_epoch_of(self.trainer)

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train with the Trainer; see `lrsearch.tasks.Task.run`."""
        own = self.trainer.args.device.type
        if own != device.partition(":")[0]:
            raise TaskError(
                f"the Trainer trains on {own}, but the study on {device}; choose with "
                "TrainingArguments(use_cpu=…) and the study's device"
            )
        yield from in_turns(partial(self._train, schedule, epochs, seed, state))

    def _train(
        self,
        schedule: Schedule,
        epochs: int,
        seed: int,
        state: dict[str, Any] | None,
        turn: Turn,
    ) -> None:
        trainer = self.trainer
        total_steps = epochs * self.steps_per_epoch
        with TemporaryDirectory(prefix="lrsearch-") as folder, _kept(trainer):
            args = trainer.args
            args.output_dir = folder
            args.num_train_epochs = epochs
            args.seed = seed
            args.learning_rate = schedule.base_lr
            args.eval_strategy = args.logging_strategy = "epoch"
            args.save_strategy = "no"
            args.load_best_model_at_end = args.push_to_hub = False
            args.logging_nan_inf_filter = False  # it would hide that a run diverged
            args.save_total_limit = 1
            args.save_only_model = False
            import_module("transformers").set_seed(seed)
            if self.weights is not None:
                trainer.model.load_state_dict(self.weights)
                trainer.model_wrapped = trainer.model
            trainer.optimizer = trainer.lr_scheduler = None
            trainer.create_scheduler = partial(_create_scheduler, trainer, schedule, total_steps)
            trainer.add_callback(_turns(trainer, turn, epochs, schedule))
            trainer.train(resume_from_checkpoint=_write(state, folder) if state else None)


def steps_per_epoch_of(trainer: Any) -> int:
    """Return how many updates an epoch of a Trainer has.

    Raises:
        TaskError: if its data has no length.
    """
    try:
        batches = len(trainer.get_train_dataloader())
    except TypeError:
        raise TaskError("the Trainer's data has no length, which a schedule needs") from None
    return max(1, -(-batches // int(trainer.args.gradient_accumulation_steps)))


def _create_scheduler(
    trainer: Any,
    schedule: Schedule,
    total_steps: int,
    num_training_steps: int,
    optimizer: Any = None,
) -> Any:
    """Take the place of `Trainer.create_scheduler`."""
    if num_training_steps != total_steps:
        raise TaskError(
            f"the run has {total_steps} updates by its data, but the Trainer counts "
            f"{num_training_steps}; leave max_steps out"
        )
    trainer.lr_scheduler = schedule.torch(optimizer or trainer.optimizer, total_steps)
    return trainer.lr_scheduler


@contextmanager
def _kept(trainer: Any) -> Iterator[None]:
    """Give a Trainer arguments and callbacks of the run's own, and its own back at the end."""
    library: Any = import_module("transformers")
    silenced = (library.PrinterCallback, library.ProgressCallback)
    handler = trainer.callback_handler
    args, callbacks = trainer.args, list(handler.callbacks)
    trainer.args = copy.deepcopy(args)
    handler.callbacks = [
        callback
        for callback in callbacks
        if not isinstance(callback, silenced)
        and not type(callback).__module__.startswith("transformers.integrations")  # trackers
    ]
    try:
        yield
    finally:
        trainer.args, handler.callbacks = args, callbacks
        trainer.optimizer = trainer.lr_scheduler = None
        del trainer.create_scheduler


def _turns(trainer: Any, turn: Turn, epochs: int, schedule: Schedule) -> Any:
    """Return the callback that shows every epoch, after its evaluation and checkpoint."""
    library: Any = import_module("transformers")

    class Turns(library.TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.metrics: dict[str, float] = {}
            self.train_loss: dict[str, float] = {}

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn.check()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                self.train_loss = {"train_loss": float(logs["loss"])}

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = round(state.epoch) < epochs

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
        ) -> None:
            own = {name.removeprefix("eval_"): value for name, value in metrics.items()}
            numbers = {
                f"val_{name}": float(value)
                for name, value in own.items()
                if isinstance(value, int | float) and name not in _TIMES
            }
            self.metrics = self.train_loss | numbers
            if schedule.family.reads_losses and "val_loss" in numbers:
                scheduler = trainer.lr_scheduler  # the same update again, with what is known now
                known = scheduler.state_dict()
                known["losses"].append(numbers["val_loss"])
                scheduler.load_state_dict(known)
            if round(state.epoch) == epochs:
                turn.show(Progress(epochs, self.metrics))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            epoch = round(state.epoch)
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            turn.show(Progress(epoch, self.metrics, capture=partial(_read, folder, epoch)))

    return Turns()


def _read(folder: Path, epoch: int) -> dict[str, Any]:
    """Return a checkpoint's files as tensors of bytes; without the arguments, which hold tokens."""
    files = {
        str(path.relative_to(folder)): as_tensor(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "training_args.bin"
    }
    return {"epoch": epoch, "folder": folder.name, "files": files}


def _write(state: Mapping[str, Any], folder: str) -> str:
    root = Path(folder, state["folder"])
    for name, content in state["files"].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.numpy().tobytes())
    return str(root)
