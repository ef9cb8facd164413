"""Keras: a `LearningRateSchedule`, its own where it has an exact one; callbacks for the rest."""

from __future__ import annotations

import math

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_keras
from lrsearch.export.parts import before_plateau, drops, plateau_mode, plateau_of
from lrsearch.export.source import STANDARD, formula, head, joined
from lrsearch.schedules import Plateau

_USAGE = """
Needs Keras 3, on any of its backends:

    model.compile({optimizer}, ...{eagerly})
    model.fit(...{callbacks})
{notes}"""
_LENGTH = """
It is for a run of TOTAL_STEPS updates. For another: `lrsearch export --format keras --steps ...`.
"""
_EAGERLY = """
A compiled train step would keep the first momentum; run_eagerly=True lets it move.
"""
_TABLE = '''
@keras.saving.register_keras_serializable(package="lrsearch")
class Found(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule as a table: single precision would lose the formula's small last rates."""

    def __init__(self, total_steps: int = TOTAL_STEPS) -> None:
        self.total_steps = total_steps
        rates = [Schedule().lr(step, total_steps) for step in range(total_steps)]
        self.rates = np.array(rates, dtype="float32")

    def __call__(self, step):
        step = keras.ops.minimum(step, self.total_steps - 1)
        return keras.ops.take(self.rates, keras.ops.cast(step, "int32"))

    def get_config(self):
        return {"total_steps": self.total_steps}


learning_rate = Found()
'''
_MOMENTUM = '''
class Momentum(keras.callbacks.Callback):
    """Moves the momentum, or Adam's beta_1, before every batch.

    A compiled train step keeps the first value: compile with run_eagerly=True on JAX or TensorFlow.
    """

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        momentum = Schedule().momentum(int(optimizer.iterations), TOTAL_STEPS)
        if getattr(optimizer, "momentum", 0.0):
            optimizer.momentum = momentum
        elif getattr(optimizer, "beta_1", 0.0):
            optimizer.beta_1 = momentum
'''
_WARMUP = '''
class WarmupCallback(keras.callbacks.Callback):
    """Sets the rate before every batch of the warmup; cuts made meanwhile are forgotten."""

    def on_train_batch_begin(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        if step < Warmup().length(TOTAL_STEPS):
            self.model.optimizer.learning_rate = Schedule().lr(step, TOTAL_STEPS)
'''
_PLATEAU = """
learning_rate = BASE_LR
plateau = keras.callbacks.ReduceLROnPlateau(
    monitor={metric!r},
    mode={mode!r},
    factor={drop_factor!r},
    patience={patience},  # Keras drops at the last of these bad epochs, others after it
    min_delta={min_delta!r},  # an amount of it; searched was {searched}
    cooldown={cooldown},  # Keras counts the last epoch of its cooldown again
    min_lr={min_lr!r},
)
callbacks = [{callbacks}plateau]
"""


def to_keras(best: Exported) -> str:
    """Return a module with `learning_rate`, and callbacks where the schedule needs them.

    Raises:
        StudyError: for a `plateau` that never drops.
    """
    if shape := plateau_of(best):
        return _plateau(best, shape)
    found = drops(best)
    if found == []:
        return head(best, _usage(best), [], caution(best)) + "learning_rate = BASE_LR\n"
    if found:
        boundaries = [step - 1 for step, _ in found]  # Keras drops after the boundary
        rates = [best.schedule.base_lr, *(rate for _, rate in found)]
        usage = _usage(best) + _LENGTH
        return head(best, usage, ["import keras"], caution(best)) + (
            "learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay(\n"
            f"    boundaries={boundaries},\n    values={rates},\n)\n"
        )
    momentum = best.clock.momentum(best.schedule, 0)
    usage = _usage(best, ", callbacks=[Momentum()]" if momentum is not None else "", momentum)
    imports = [*STANDARD, "import keras", "import numpy as np"]
    return joined(
        head(best, usage + _LENGTH, imports, caution(best)),
        formula(best.schedule, best.clock),
        _TABLE,
        *([_MOMENTUM] if momentum is not None else []),
    )


def _usage(best: Exported, callbacks: str = "", momentum: float | None = None) -> str:
    optimizer, notes = for_keras(best, momentum)
    return _USAGE.format(
        optimizer=optimizer,
        eagerly="" if momentum is None else ", run_eagerly=True",
        callbacks=callbacks,
        notes=(_EAGERLY if momentum is not None else "")
        + "".join(f"\nNote: {note}.\n" for note in notes),
    )


def _plateau(best: Exported, shape: Plateau) -> str:
    usage, first = _usage(best, ", callbacks=callbacks"), caution(best)
    finite = [abs(loss) for loss in best.losses if math.isfinite(loss)]
    scale = min(finite, default=1.0)
    warmup = best.schedule.warmup
    rule = _PLATEAU.format(
        metric=shape.metric,
        mode=plateau_mode(shape),
        drop_factor=shape.drop_factor,
        patience=shape.patience + 1,
        min_delta=shape.threshold * scale,
        searched=f"the share {shape.threshold:g} of the best, there down to {scale:g}",
        cooldown=shape.cooldown + 1 if shape.cooldown else 0,
        min_lr=best.schedule.base_lr * shape.min_factor,
        callbacks="WarmupCallback(), " if warmup else "",
    )
    if warmup is None:
        return head(best, usage, ["import keras"], first) + rule.removeprefix("\n")
    return joined(
        head(best, usage, [*STANDARD, "import keras"], first),
        formula(before_plateau(best.schedule), best.clock),
        _WARMUP,
        rule,
    )
