"""A Keras model as a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from typing import Any

from lrsearch.errors import TaskError
from lrsearch.integrations.seeding import seed_of
from lrsearch.integrations.turns import Turn, in_turns
from lrsearch.schedules import Schedule
from lrsearch.tasks import Progress


def keras_task(model: Any, *data: Any, epochs: int, **fit: Any) -> KerasTask:
    """Make a task of a compiled Keras model and what its `fit` takes.

    In place of `model.fit(x, y, epochs=10, validation_data=validation)` write
    `keras_task(model, x, y, epochs=10, validation_data=validation)`. Metrics are Keras's own:
    `train_loss` and `train_…` of the training data, `val_loss` and `val_…` of the validation data.
    The schedule sets the rate before every update.

    Each epoch is seeded by the study's seed and its number, so a run that was interrupted goes on
    from its checkpoint (all variables of model and optimizer) with the same numbers. Keras trains
    where its backend does (one GPU for each worker that `lrsearch launch` starts), whatever the
    study's device; to train on the CPU beside a GPU, hide that from the backend. `one_cycle` moves
    the momentum where the train step is not compiled (torch, or `run_eagerly=True`); elsewhere
    Keras keeps the first value. `plateau` sees one `val_loss` an epoch, on short horizons too. A
    prepended warmup is not supported, nor one that is adjusted as it trains.

    Args:
        model: a function that returns a compiled model (then the seed decides its first weights),
            or a compiled model: every run begins with the weights that it has now, whatever the
            seed, and with a fresh state of the optimizer; it is left with those of the last run.
        data: as `fit` takes them: `x, y`, or a data set.
        epochs: the length of the full run.
        fit: further arguments of `fit`. A callback that stops training early breaks the
            comparison, so leave it out.

    Raises:
        TaskError: if a model has no weights yet, or the data does not tell its length.

    Example:
        In place of `model.fit(x, y, epochs=10, validation_data=validation)`::

            from lrsearch.integrations import keras_task

            task = keras_task(model, x, y, epochs=10, validation_data=validation)
            search = lrsearch.optimize(task, trials=30)
    """
    keras: Any = import_module("keras")

    first: list[Any] = []
    if isinstance(model, keras.Model):
        if not model.built or model.optimizer is None:
            raise TaskError(
                "the model must be built (keras.Input as its first layer) and compiled; or give a "
                "function that returns one"
            )
        fresh = type(model.optimizer).from_config(model.optimizer.get_config())
        fresh.build(model.trainable_variables)  # the model's own may have been trained with
        first = _values([*model.variables, *fresh.variables])
    return KerasTask(model, data, epochs, fit, first)


@dataclass(frozen=True, eq=False)
class KerasTask:
    """What `keras_task` returns; see there."""

    model: Any
    data: Sequence[Any]
    epochs: int
    fit: Mapping[str, Any]
    first: Sequence[Any]

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch, as Keras counts them."""
        if steps := self.fit.get("steps_per_epoch"):
            return int(steps)
        x = self.data[0] if self.data else self.fit["x"]
        while isinstance(x, Mapping | list | tuple):
            x = next(iter(x.values())) if isinstance(x, Mapping) else x[0]
        try:
            length = len(x)
        except TypeError:
            raise TaskError(
                f"a {type(x).__name__} does not tell its length; give steps_per_epoch"
            ) from None
        if not hasattr(x, "shape"):
            return length  # a data set, which has batches
        return -(-length // int(self.fit.get("batch_size") or 32))

    def run(
        self,
        schedule: Schedule,
        *,
        epochs: int,
        seed: int,
        device: str,
        state: dict[str, Any] | None = None,
    ) -> Iterator[Progress]:
        """Train with Keras; see `lrsearch.tasks.Task.run`."""
        yield from in_turns(partial(self._fit, schedule, epochs, seed, state))

    def _fit(
        self,
        schedule: Schedule,
        epochs: int,
        seed: int,
        state: dict[str, Any] | None,
        turn: Turn,
    ) -> None:
        keras: Any = import_module("keras")

        keras.utils.set_random_seed(seed_of(seed, 0))
        model = self.model if self.first else self.model()
        model.optimizer.build(model.trainable_variables)
        if values := state["values"] if state else self.first:
            _assign(model, values)
        losses = list(state["losses"]) if state else []
        turns = _turns(turn, schedule, epochs * self.steps_per_epoch, seed, losses)
        fit = {"verbose": 0, **self.fit}
        fit["callbacks"] = [*(self.fit.get("callbacks") or []), turns]
        fit["initial_epoch"] = state["epoch"] if state else 0
        model.fit(*self.data, epochs=epochs, **fit)


def _turns(turn: Turn, schedule: Schedule, total_steps: int, seed: int, losses: list[float]) -> Any:
    """Return the callback that sets the rate of every update, and shows every epoch."""
    keras: Any = import_module("keras")

    class Turns(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            keras.utils.set_random_seed(seed_of(seed, epoch))
            steps = self.params["steps"] * self.params["epochs"]
            if steps != total_steps:
                raise TaskError(
                    f"the run has {total_steps} updates by its data, but Keras counts {steps}; "
                    "give steps_per_epoch"
                )

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            turn.check()
            optimizer = self.model.optimizer
            step = int(optimizer.iterations)
            try:
                optimizer.learning_rate = schedule.lr(step, total_steps, losses)
            except TypeError:
                raise TaskError(
                    "the optimizer has a schedule of Keras's own, whose rate nobody can set; "
                    "compile with a number as learning_rate"
                ) from None
            if (momentum := schedule.momentum(step, total_steps)) is not None:
                if getattr(optimizer, "momentum", 0.0):
                    optimizer.momentum = momentum
                elif getattr(optimizer, "beta_1", 0.0):
                    optimizer.beta_1 = momentum

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            metrics = {
                name if name.startswith("val_") else f"train_{name}": float(value)
                for name, value in (logs or {}).items()
            }
            if "val_loss" in metrics:
                losses.append(metrics["val_loss"])
            capture = partial(_state, self.model, epoch + 1, losses)
            turn.show(Progress(epoch + 1, metrics, capture=capture))

    return Turns()


def _state(model: Any, epoch: int, losses: list[float]) -> dict[str, Any]:
    return {"epoch": epoch, "values": _values(_variables(model)), "losses": list(losses)}


def _variables(model: Any) -> list[Any]:
    """Return all that a run changes, seeds of dropout and the like included."""
    return [*model.variables, *model.optimizer.variables]


def _values(variables: Sequence[Any]) -> list[Any]:
    """Return the values of variables as tensors, which a checkpoint can hold."""
    import torch

    keras: Any = import_module("keras")

    return [torch.tensor(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def _assign(model: Any, values: Sequence[Any]) -> None:
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value.numpy())
