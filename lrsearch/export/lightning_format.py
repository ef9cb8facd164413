"""Lightning: what `configure_optimizers` returns. The file itself needs only torch."""

from __future__ import annotations

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_torch
from lrsearch.export.parts import GROWTH, before_plateau, plateau_of, torch_plateau
from lrsearch.export.source import STANDARD, TORCH, formula, head, joined, literal, torch_scheduler
from lrsearch.schedules import Plateau

_USAGE = """
Works with lightning and pytorch_lightning. In your LightningModule:

    def configure_optimizers(self):
        optimizer = {optimizer}
        return scheduled(optimizer, self.trainer.estimated_stepping_batches)

"""
_FOLLOWS = "All durations are fractions of the run, so any number of updates does."
_DIFFERS = """The rate drops when MONITOR, as your module logs it, stops improving; `patience`
and `cooldown` count validations. Torch's rule never sees an improvement on a negative loss."""

_STEPS = '''
def scheduled(optimizer: Optimizer, total_steps: int = TOTAL_STEPS) -> dict[str, Any]:
    """Return what `configure_optimizers` returns; the rate changes after every update."""
    scheduler = ScheduleLR(optimizer, Schedule(), total_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
'''
_PLATEAU = '''
def scheduled(optimizer: Optimizer, total_steps: int = TOTAL_STEPS) -> dict[str, Any]:
    """Return what `configure_optimizers` returns."""
    plateau = {"scheduler": ReduceLROnPlateau(optimizer, **PLATEAU), "monitor": MONITOR}
    return {"optimizer": optimizer, "lr_scheduler": plateau}
'''
_WARMUP = '''
def scheduled(optimizer: Optimizer, total_steps: int = TOTAL_STEPS) -> tuple[list, list]:
    """Return what `configure_optimizers` returns; the warmup ends with a share of all updates."""
    for group in optimizer.param_groups:
        group["lr"] *= growth(0, total_steps)
    warmup = MultiplicativeLR(optimizer, lambda step: growth(step, total_steps))
    plateau = {"scheduler": ReduceLROnPlateau(optimizer, **PLATEAU), "monitor": MONITOR}
    return [optimizer], [{"scheduler": warmup, "interval": "step"}, plateau]
'''


def to_lightning(best: Exported) -> str:
    """Return a module with `scheduled(optimizer, total_steps)` for `configure_optimizers`.

    Raises:
        StudyError: for a `plateau` that never drops.
    """
    if shape := plateau_of(best):
        return _plateau(best, shape)
    return joined(
        head(best, _usage(best) + _FOLLOWS, TORCH, caution(best)),
        formula(best.schedule, best.clock),
        torch_scheduler(),
        _STEPS,
    )


def _usage(best: Exported) -> str:
    return _USAGE.format(optimizer=for_torch(best).replace("model.", "self."))


def _plateau(best: Exported, shape: Plateau) -> str:
    monitor = f"MONITOR = {shape.metric!r}\n".replace("'", '"')
    options = monitor + literal("PLATEAU", torch_plateau(best, shape))
    usage, first = _usage(best) + _DIFFERS, caution(best)
    if best.schedule.warmup is None:
        imports = [
            "from typing import Any",
            "",
            "from torch.optim import Optimizer",
            "from torch.optim.lr_scheduler import ReduceLROnPlateau",
        ]
        return joined(head(best, usage, imports, first) + options, _PLATEAU)
    imports = [
        *STANDARD,
        "from torch.optim import Optimizer",
        "from torch.optim.lr_scheduler import MultiplicativeLR, ReduceLROnPlateau",
    ]
    return joined(
        head(best, usage, imports, first) + options,
        formula(before_plateau(best.schedule), best.clock),
        GROWTH,
        _WARMUP,
    )
