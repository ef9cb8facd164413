"""Python: a file that needs only torch, put together from this package's own source.

So there is one formula per family, and what the file computes is what was trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from lrsearch.export.exported import Exported
from lrsearch.schedules import Family, Moment, Schedule, Warmup
from lrsearch.schedules.family import completed
from lrsearch.schedules.schedule import in_run
from lrsearch.schedules.warmup import SHAPES

_HEAD = '''"""The learning-rate schedule {name!r}, found by lrsearch.

Trial {trial} of the study {study!r}; its value was {value:g}.

Needs torch and nothing else. In your training:

    scheduler = ScheduleLR(optimizer, Schedule(), TOTAL_STEPS)
    for batch in batches:
        ...
        optimizer.step()
        scheduler.step({argument})

`Schedule().lr(step, total_steps)` is the rate of one update; all durations are fractions of the
run, so any number of updates does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

TOTAL_STEPS = {total_steps}
ScheduleError = ValueError
'''


def to_python(best: Exported) -> str:
    """Return a module with the schedule as `Schedule` and torch's scheduler as `ScheduleLR`."""
    from lrsearch.schedules.torch import ScheduleLR

    schedule = best.schedule
    shape, warmup = schedule.shape, schedule.warmup
    family = type(shape)
    parts = [
        _HEAD.format(
            name=shape.name,
            trial=best.trial,
            study=best.study,
            value=best.value,
            argument="loss  # after an update that was followed by an evaluation"
            if shape.reads_losses
            else "",
            total_steps=best.total_steps,
        ),
        inspect.getsource(Moment),
        inspect.getsource(completed),
        inspect.getsource(in_run),
        _class(family, {name: getattr(shape, name) for name in family.parameters()}, _own(family)),
    ]
    if warmup is not None:
        parts += [
            inspect.getsource(SHAPES[warmup.shape]),
            f"SHAPES = {{{warmup.shape!r}: {SHAPES[warmup.shape].__name__}}}\n",
            _class(Warmup, vars(warmup), [Warmup.__call__]),
        ]
    constants = {
        "shape": _Code(f"{family.__name__}()"),
        "base_lr": schedule.base_lr,
        "warmup": _Code("Warmup()") if warmup else None,
    }
    parts += [
        _class(Schedule, constants, [Schedule.lr, Schedule.momentum]),
        inspect.getsource(ScheduleLR),
    ]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


class _Code(str):
    """Text that stands for itself."""

    def __repr__(self) -> str:
        return str(self)


def _class(cls: type, constants: dict[str, Any], methods: list[Callable[..., Any]]) -> str:
    """Return the source of a plain class with these constants and methods."""
    summary = (inspect.getdoc(cls) or "").splitlines()[0]
    lines = [f"class {cls.__name__}:", f'    """{summary}"""', ""]
    lines += [f"    {name} = {value!r}" for name, value in constants.items()]
    sources = [inspect.getsource(method) for method in methods]
    return "\n".join(lines) + "\n\n" + "\n".join(sources)


def _own(family: type[Family]) -> list[Callable[..., Any]]:
    """Return what a family computes with: its formula, its momentum, its private helpers."""
    own = [
        method
        for name, method in vars(family).items()
        if isinstance(method, FunctionType)
        and (name == "__call__" or (name.startswith("_") and not name.startswith("__")))
    ]
    return [*own, family.momentum]
