"""Transformers: arguments where the library has the schedule, else a scheduler for `Trainer`."""

from __future__ import annotations

from typing import Any

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_torch, optimizer_of
from lrsearch.export.parts import GROWTH, before_plateau, plateau_of, torch_plateau
from lrsearch.export.source import STANDARD, TORCH, formula, head, joined, literal, torch_scheduler
from lrsearch.schedules import Constant, Cosine, Linear, Polynomial

_ARGUMENTS_USAGE = """
Transformers has this schedule, for a run of any length (here max_steps, or num_train_epochs):

    arguments = TrainingArguments(..., max_steps=TOTAL_STEPS, **ARGUMENTS)
{trainer}"""
_OWN_OPTIMIZER = """    optimizer = {optimizer}
    trainer = Trainer(model, arguments, optimizers=(optimizer, None){callbacks}, ...)
"""
_PLATEAU_USAGE = """
Transformers has this schedule:

    arguments = TrainingArguments(..., **ARGUMENTS)
{trainer}
`patience` and `cooldown` count evaluations. Torch's rule, which it uses, never sees an improvement
on a negative loss.
"""
_SCHEDULER_USAGE = """
Needs torch and nothing else. For transformers' `Trainer`:

    optimizer = {optimizer}
    scheduler = get_schedule(optimizer, arguments.max_steps)
    trainer = Trainer(model, arguments, optimizers=(optimizer, scheduler), ...)

All durations are fractions of the run, so any number of updates does. Where `max_steps` is -1, as
it is for a run by epochs, TOTAL_STEPS counts: give the number of your updates in its place.
"""
_SCHEDULER = '''
def get_schedule(optimizer: Optimizer, num_training_steps: int = TOTAL_STEPS) -> ScheduleLR:
    """Return the scheduler of a run of that many updates; of TOTAL_STEPS for transformers' -1."""
    steps = num_training_steps if num_training_steps > 0 else TOTAL_STEPS
    return ScheduleLR(optimizer, Schedule(), steps)
'''
_WARMUP = '''
class WarmupCallback(TrainerCallback):
    """Multiplies the rate before every update of the warmup."""

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        for group in optimizer.param_groups:
            group["lr"] *= growth(state.global_step, state.max_steps)
'''


def to_transformers(best: Exported) -> str:
    """Return a module with `ARGUMENTS` for `TrainingArguments`, or `get_schedule`.

    Raises:
        StudyError: for a `plateau` that never drops.
    """
    if shape := plateau_of(best):
        options = torch_plateau(best, shape)
        monitor = {
            "metric_for_best_model": f"eval_{shape.metric.removeprefix('val_')}",
            "greater_is_better": shape.maximize,
        }
        arguments = _arguments(
            best, "reduce_lr_on_plateau", options, eval_strategy="epoch",
            **(monitor if shape.metric != "val_loss" else {}),
        )  # fmt: skip
        if best.schedule.warmup is None:
            usage = _PLATEAU_USAGE.format(trainer=_trainer(best))
            return head(best, usage, [], caution(best, "adamw")) + arguments
        usage = _PLATEAU_USAGE.format(trainer=_trainer(best, ", callbacks=[WarmupCallback()]"))
        imports = [*STANDARD, "from transformers import TrainerCallback"]
        warmup = formula(before_plateau(best.schedule), best.clock)
        first = caution(best, "adamw")
        return joined(head(best, usage, imports, first) + arguments, warmup, GROWTH, _WARMUP)
    if native := _native(best):
        usage = _ARGUMENTS_USAGE.format(trainer=_trainer(best))
        return head(best, usage, [], caution(best, "adamw")) + _arguments(best, *native)
    usage = _SCHEDULER_USAGE.format(optimizer=for_torch(best))
    return joined(
        head(best, usage, TORCH, caution(best, "adamw")),
        formula(best.schedule, best.clock),
        torch_scheduler(),
        _SCHEDULER,
    )


def _trainer(best: Exported, callbacks: str = "") -> str:
    """Return how `Trainer` gets the optimizer that the schedule was found with."""
    if optimizer_of(best) is None:
        return f"    trainer = Trainer(model, arguments{callbacks}, ...)\n"
    return _OWN_OPTIMIZER.format(optimizer=for_torch(best), callbacks=callbacks)


def _native(best: Exported) -> tuple[str, dict[str, float | str]] | None:
    """Return the library's name of the schedule and its options; its warmups start at zero."""
    shape = best.schedule.family
    if best.schedule.warmup or best.clock.lr_every == "epoch":
        return None
    match shape:
        case Constant():
            return "constant", {}
        case Cosine(min_factor=0.0):
            return "cosine", {}
        case Cosine():
            return "cosine_with_min_lr", {"min_lr_rate": shape.min_factor}
        case Linear(min_factor=0.0):
            return "linear", {}
        case Linear() | Polynomial() if shape.min_factor < 1:
            power = shape.power if isinstance(shape, Polynomial) else 1.0
            end = best.schedule.base_lr * shape.min_factor
            return "polynomial", {"lr_end": end, "power": power}
    return None


def _arguments(best: Exported, name: str, options: dict[str, float | str], **more: Any) -> str:
    arguments = {
        "learning_rate": best.schedule.base_lr,
        "lr_scheduler_type": name,
        "lr_scheduler_kwargs": options,
        **more,
    }
    return literal("ARGUMENTS", arguments)
