"""timm: one of its own schedulers where it has the schedule, else a subclass of its `Scheduler`."""

from __future__ import annotations

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_torch
from lrsearch.export.parts import GROWTH, MOMENTUM, before_plateau, plateau_mode, plateau_of
from lrsearch.export.source import STANDARD, formula, head, joined
from lrsearch.schedules import Cosine, Linear, Plateau, Polynomial

_USAGE = """
Needs timm 1.0 or newer. In your training, with `import torch`:

    optimizer = {optimizer}
    scheduler = get_schedule(optimizer)
    for batch in batches:
        ...
        optimizer.step()
        updates += 1
        scheduler.step_update(updates)
"""
_LENGTH = """
For a run of another length: get_schedule(optimizer, total_steps=...); all durations are fractions
of it.
"""
_PLATEAU_USAGE = """
    scheduler.step(epoch + 1, {metric})  # after the evaluation of an epoch, counted from 0

timm takes epoch 0 for its own warmup and would set the rate to 0, so count from 1. `patience_t` and
`cooldown_t` count evaluations; an improvement on a negative loss is never seen. timm means to
remove this scheduler; torch's `ReduceLROnPlateau` is the same rule.
"""
_FOUND = '''
class FoundLRScheduler(Scheduler):
    """The schedule; the first group gets its rate, the others keep their ratio to it."""

    def __init__(self, optimizer: Optimizer, total_steps: int) -> None:
        super().__init__(optimizer, param_group_field="lr", t_in_epochs=False)
        self.total_steps = total_steps
        self.step_update(0)

    def _get_lr(self, t: int) -> list[float]:
        lr = Schedule().lr(t, self.total_steps)
        return [lr * (base / self.base_values[0]) for base in self.base_values]
'''
_MOVES = """
    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        super().step_update(num_updates, metric)
        move_momentum(self.optimizer, Schedule().momentum(num_updates, self.total_steps))
"""
_GET = '''
def get_schedule(optimizer: Optimizer, total_steps: int = TOTAL_STEPS) -> {name}:
    """Return the scheduler of a run of that many updates."""
    return {name}({arguments})
'''
_PLATEAU = '''
def get_schedule(optimizer: Optimizer) -> {name}:
    """Return the scheduler."""
    scheduler = {name}(
        optimizer,
        decay_rate={drop_factor!r},
        patience_t={patience!r},
        threshold={threshold!r},
        cooldown_t={cooldown!r},
        lr_min={lr_min!r},
        mode={mode!r},
    )
    scheduler.lr_scheduler.eps = 0.0  # else drops smaller than 1e-8 are left out{begin}
    return scheduler
'''
_WARMUP = '''
class WarmupPlateauLRScheduler(PlateauLRScheduler):
    """The plateau rule with a warmup by updates; timm's own is by epochs."""

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= growth(num_updates)
'''


def to_timm(best: Exported) -> str:
    """Return a module with `get_schedule(optimizer)`, a scheduler of timm's kind.

    Raises:
        StudyError: for a `plateau` that never drops.
    """
    if shape := plateau_of(best):
        return _plateau(best, shape)
    usage = _USAGE.format(optimizer=for_torch(best)) + _LENGTH
    if native := _native(best):
        name, arguments = native
        get = _GET.format(name=name, arguments=arguments)
        return joined(head(best, usage, _imports(name), caution(best)), get)
    moves = best.clock.momentum(best.schedule, 0) is not None
    imports = [*STANDARD, *_imports("Scheduler", "timm.scheduler.scheduler")]
    return joined(
        head(best, usage, imports, caution(best)),
        formula(best.schedule, best.clock),
        *([MOMENTUM] if moves else []),
        _FOUND + (_MOVES if moves else ""),
        _GET.format(name="FoundLRScheduler", arguments="optimizer, total_steps"),
    )


def _native(best: Exported) -> tuple[str, str] | None:
    """Return timm's class and its arguments; its warmups start at zero, so none has a warmup."""
    shape = best.schedule.family
    if best.clock.lr_every == "epoch":
        return None
    if best.schedule.warmup or not isinstance(shape, Cosine | Linear | Polynomial):
        return None
    lr_min = best.schedule.base_lr * shape.min_factor
    arguments = f"optimizer, total_steps, lr_min={lr_min!r}, t_in_epochs=False"
    if isinstance(shape, Cosine):
        return "CosineLRScheduler", arguments
    power = shape.power if isinstance(shape, Polynomial) else 1.0
    return "PolyLRScheduler", f"{arguments}, power={power!r}"


def _plateau(best: Exported, shape: Plateau) -> str:
    warmup = best.schedule.warmup
    get = _PLATEAU.format(
        **vars(shape),
        mode=plateau_mode(shape),
        name="WarmupPlateauLRScheduler" if warmup else "PlateauLRScheduler",
        lr_min=best.schedule.base_lr * shape.min_factor,
        begin="\n    scheduler.step_update(0)" if warmup else "",
    )
    usage = _USAGE.format(optimizer=for_torch(best)) + _PLATEAU_USAGE.replace(
        "{metric}", shape.metric
    )
    first = caution(best)
    imports = _imports("PlateauLRScheduler")
    if warmup is None:
        return joined(head(best, usage, imports, first), get)
    return joined(
        head(best, usage, [*STANDARD, *imports], first),
        formula(before_plateau(best.schedule), best.clock),
        GROWTH,
        _WARMUP,
        get,
    )


def _imports(name: str, module: str = "timm.scheduler") -> list[str]:
    return [f"from {module} import {name}", "from torch.optim import Optimizer"]
