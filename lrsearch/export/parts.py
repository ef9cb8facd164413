"""What several formats share: the plateau rule's numbers, what stands before it, staircases."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lrsearch.errors import StudyError
from lrsearch.export.exported import Exported
from lrsearch.schedules import Constant, Factor, MultiStep, Plateau, Schedule, Step

MAX_LISTED_DROPS = 8
"""A staircase with more drops is written as a formula: a list of them is no shorter."""

GROWTH = '''
def growth(step: int, total_steps: int = TOTAL_STEPS) -> float:
    """Return by what the warmup multiplies the rate before update `step`; 1 after the warmup.

    It multiplies, so that a cut made by the plateau rule meanwhile stays.
    """
    before = Schedule().lr(step - 1, total_steps) if step else BASE_LR
    return Schedule().lr(step, total_steps) / before
'''
"""For torch's optimizers: the warmup before a plateau rule."""

MOMENTUM = '''
def move_momentum(optimizer: Optimizer, momentum: float) -> None:
    """Set the momentum, or the first of Adam's betas, in groups where it is not zero."""
    for group in optimizer.param_groups:
        if group.get("momentum"):
            group["momentum"] = momentum
        elif "betas" in group and group["betas"][0]:
            group["betas"] = (momentum, *group["betas"][1:])
'''


def plateau_of(best: Exported) -> Plateau | None:
    """Return the plateau rule of a schedule, or `None` if it has another shape.

    Raises:
        StudyError: if it never drops: the frameworks refuse that.
    """
    shape = best.schedule.family
    if not isinstance(shape, Plateau):
        return None
    if shape.drop_factor == 1:
        raise StudyError(
            f"the plateau of trial {best.trial} has drop_factor 1 and never drops, which no "
            "framework takes; export it as json, csv or python"
        )
    return shape


def torch_plateau(best: Exported, shape: Plateau) -> dict[str, float | str]:
    """Return the options of torch's `ReduceLROnPlateau`; `eps` 0 lets the smallest drops count."""
    return {
        "mode": plateau_mode(shape),
        "factor": shape.drop_factor,
        "patience": shape.patience,
        "threshold": shape.threshold,
        "cooldown": shape.cooldown,
        "min_lr": best.schedule.base_lr * shape.min_factor,
        "eps": 0.0,
    }


def plateau_mode(shape: Plateau) -> str:
    """Return what the frameworks call the direction that is better: "min" or "max"."""
    return "max" if shape.maximize else "min"


def before_plateau(schedule: Schedule) -> Schedule:
    """Return the schedule with a constant rate in its shape's place: the warmup alone."""
    return replace(schedule, family=Constant())


def drops(best: Exported) -> list[tuple[int, float]] | None:
    """Return the updates at which a staircase changes, each with its new rate.

    `None` for what is no staircase, has a warmup, or has more than MAX_LISTED_DROPS drops.
    """
    if best.schedule.warmup or not isinstance(
        best.schedule.family, Constant | Step | MultiStep | Factor
    ):
        return None
    curve = best.clock.curve(best.schedule).tolist()
    found = [
        (step, rate) for step, (last, rate) in enumerate(pairwise(curve), start=1) if rate != last
    ]
    return found if len(found) <= MAX_LISTED_DROPS else None
