"""Transformers: arguments where the library has the schedule, else a scheduler for `Trainer`."""

from __future__ import annotations

from typing import Any

from lrsearch.export.exported import Exported
from lrsearch.export.parts import GROWTH, before_plateau, plateau_of, torch_plateau
from lrsearch.export.source import STANDARD, TORCH, formula, head, joined, literal, torch_scheduler
from lrsearch.schedules import Constant, Cosine, Linear, Polynomial

_ARGUMENTS_USAGE = """
Transformers has this schedule:

    arguments = TrainingArguments(..., max_steps=TOTAL_STEPS, **ARGUMENTS)
"""
_PLATEAU_USAGE = """
Transformers has this schedule:

    arguments = TrainingArguments(..., **ARGUMENTS)
    trainer = Trainer(model, arguments, ...{callbacks})

`patience` and `cooldown` count evaluations. Torch's rule, which it uses, never sees an improvement
on a negative loss.
"""
_SCHEDULER_USAGE = """
Needs torch and nothing else. For transformers' `Trainer`:

    optimizer = torch.optim.AdamW(model.parameters(), lr=BASE_LR)
    scheduler = get_schedule(optimizer, arguments.max_steps)
    trainer = Trainer(model, arguments, optimizers=(optimizer, scheduler), ...)

All durations are fractions of the run, so any number of updates does.
"""
_SCHEDULER = '''
def get_schedule(optimizer: Optimizer, num_training_steps: int = TOTAL_STEPS) -> ScheduleLR:
    """Return the scheduler of a run of that many updates."""
    return ScheduleLR(optimizer, Schedule(), num_training_steps)
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
            return head(best, _PLATEAU_USAGE.format(callbacks=""), []) + arguments
        usage = _PLATEAU_USAGE.format(callbacks=", callbacks=[WarmupCallback()]")
        imports = [*STANDARD, "from transformers import TrainerCallback"]
        warmup = formula(before_plateau(best.schedule), best.clock)
        return joined(head(best, usage, imports) + arguments, warmup, GROWTH, _WARMUP)
    if native := _native(best):
        return head(best, _ARGUMENTS_USAGE, []) + _arguments(best, *native)
    return joined(
        head(best, _SCHEDULER_USAGE, TORCH),
        formula(best.schedule, best.clock),
        torch_scheduler(),
        _SCHEDULER,
    )


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
