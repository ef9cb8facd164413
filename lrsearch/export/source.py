"""The formula of a schedule as Python source, put together from this package's own.

So there is one formula per family, and what an exported file computes is what was trained. The
source needs the standard library alone; each format lays its framework's part behind it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from textwrap import wrap
from types import FunctionType
from typing import Any

from lrsearch.export.exported import Exported
from lrsearch.schedules import SHAPES, Clock, Family, Position, Schedule, Warmup, completed, in_run

STANDARD = [
    "import math",
    "from collections.abc import Sequence",
    "from typing import NamedTuple",
    "",
]
"""The imports of a file that holds the formula."""
TORCH = [
    STANDARD[0],
    "import warnings",
    STANDARD[1],
    "from typing import Any, NamedTuple",
    "",
    "from torch.optim import Optimizer",
    "from torch.optim.lr_scheduler import LRScheduler",
]
"""The imports of a file that holds the formula and torch's scheduler."""


def head(best: Exported, usage: str, imports: list[str], first: Sequence[str] = ()) -> str:
    """Return a module's docstring, its imports, and the constants TOTAL_STEPS and BASE_LR.

    `usage` is the docstring's last part, and `first` lines that come before all else; `imports` are
    those of the standard library, an empty string, and those of the framework.
    """
    width = max(len(name) for name, _ in best.facts)
    facts = (f"    {name:{width}}  {value}" for name, value in best.facts)
    doc = (
        f"The learning-rate schedule {best.schedule.family.name!r}, found by lrsearch.",
        "",
        *([*first, ""] if first else []),
        f"Trial {best.trial} of the study {best.study!r}:",
        "",
        *(line for fact in facts for line in _wrapped(fact, width + 6)),
    )
    return "\n".join(
        (
            # what people wrote may neither end the docstring nor be an escape
            '"""' + "\n".join(doc).replace("\\", r"\\").replace('"', r"\""),
            "",
            usage.strip("\n"),
            '"""',
            "",
            "from __future__ import annotations",
            "",
            *imports,
            "",
            f"TOTAL_STEPS = {best.total_steps}",
            f"BASE_LR = {best.schedule.base_lr!r}",
            "",
        )
    )


def _wrapped(line: str, indent: int) -> list[str]:
    return wrap(" ".join(line.splitlines()), 99, subsequent_indent=" " * indent)


_PER_EPOCH = '''
class Schedule:
    """The curve, its rate changed once an epoch: {parts} times, however many updates there are."""

    def lr(self, step: int, total_steps: int, losses: Sequence[float] = ()) -> float:
        """Return the learning rate of one update."""
        return Curve().lr(in_run(step, total_steps) * {parts} // total_steps, {parts}, losses)

    def momentum(self, step: int, total_steps: int) -> float | None:
        """Return the momentum of one update; `None` where the schedule leaves it alone."""
        return Curve().momentum(in_run(step, total_steps) * {parts} // total_steps, {parts})
'''


def formula(schedule: Schedule, clock: Clock) -> str:
    """Return the source of the class `Schedule`, with `lr` and `momentum`, and what it needs.

    Of a run whose rate changes once an epoch, so does what the class returns.
    """
    shape, warmup = schedule.family, schedule.warmup
    family = type(shape)
    parts = [
        "ScheduleError = ValueError\n",
        inspect.getsource(Position),
        inspect.getsource(completed),
        inspect.getsource(in_run),
        _class(family, {name: getattr(shape, name) for name in family.parameters()}, _own(family)),
    ]
    if warmup is not None:
        parts += [
            inspect.getsource(SHAPES[warmup.shape]),
            f"SHAPES = {{{warmup.shape!r}: {SHAPES[warmup.shape].__name__}}}\n",
            _class(Warmup, vars(warmup), [Warmup.length, Warmup.at, Warmup.__call__]),
        ]
    constants = {
        "family": _Code(f"{family.__name__}()"),
        "base_lr": _Code("BASE_LR"),
        "warmup": _Code("Warmup()") if warmup else None,
    }
    source = _class(Schedule, constants, [Schedule.lr, Schedule.momentum])
    if clock.lr_every == "epoch":
        parts.append(source.replace("class Schedule:", "class Curve:"))
        source = _PER_EPOCH.format(parts=clock.length)
    return joined(*parts, source)


def torch_scheduler() -> str:
    """Return the source of torch's scheduler `ScheduleLR`."""
    from lrsearch.schedules import ScheduleLR

    return inspect.getsource(ScheduleLR).replace("Rates", "Schedule")


def literal(name: str, values: dict[str, Any]) -> str:
    """Return the source of a constant that is a dictionary of numbers, strings and dictionaries."""
    lines = [f"    {key!r}: {value!r},\n" for key, value in values.items()]
    return f"{name} = {{\n{''.join(lines)}}}\n".replace("'", '"')


def joined(*parts: str) -> str:
    """Return the parts of a module, two empty lines between them."""
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


class _Code(str):
    """Text that stands for itself."""

    def __repr__(self) -> str:
        return str(self)


def _class(cls: type, constants: dict[str, Any], methods: list[Callable[..., Any]]) -> str:
    """Return the source of a plain class with these constants and methods."""
    summary = (inspect.getdoc(cls) or "").splitlines()[0]
    lines = [f"    {name} = {value!r}\n" for name, value in constants.items()]
    sources = [inspect.getsource(method) for method in methods]
    members = ["".join(lines), *sources] if lines else sources
    return f'class {cls.__name__}:\n    """{summary}"""\n\n' + "\n".join(members)


def _own(family: type[Family]) -> list[Callable[..., Any]]:
    """Return what a family computes with: its formula, its momentum, its private helpers."""
    own = [
        method
        for name, method in vars(family).items()
        if isinstance(method, FunctionType)
        and (name == "__call__" or (name.startswith("_") and not name.startswith("__")))
    ]
    return [*own, family.momentum]
