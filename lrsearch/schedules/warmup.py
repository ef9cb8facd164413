"""Warmup: a rise of the rate before the family, for any family that does not rise by itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from lrsearch.errors import ScheduleError, nearest


def linear(u: float) -> float:
    """Return u."""
    return u


def cosine(u: float) -> float:
    """Return (1 − cos πu) / 2: slow, fast, slow."""
    return (1 - math.cos(math.pi * u)) / 2


def exponential(u: float) -> float:
    """Return (1 − e^(−5u)) / (1 − e^(−5)): fast, then slowing."""
    return (1 - math.exp(-5 * u)) / (1 - math.exp(-5))


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": linear,
    "exponential": exponential,
    "cosine": cosine,
}


@dataclass(frozen=True)
class Warmup:
    """The rise from `start` · peak to the peak over the first `fraction` of the run.

    multiple = start + (1 − start) · shape(u)

    Update t of W = fraction · T has u = (t + 1) / W, so that no update is wasted at a rate of zero.
    The shape is u (`linear`), (1 − cos πu) / 2 (`cosine`: slow, fast, slow) or
    (1 − e^(−5u)) / (1 − e^(−5)) (`exponential`: fast, then slowing).

    Args:
        shape: "linear", "exponential" or "cosine".
        fraction: in (0, 1), of the whole run; of the run that it is laid before, if prepended.
        start: in [0, 1], the multiple that the rise starts from.
        prepend: laid before the run, which gets longer by it, as the tuning playbook has it: with
            a fraction of 0.1, a run of 10,000 updates becomes one of 11,000, and the family has its
            10,000. Without it the family has what is left.
        from_zero: u = t / W, as in transformers and torch's `LinearLR`: the first update has the
            multiple `start`, and the peak comes with the first update after the warmup.
        adjust: lengthened as it trains: where the loss or the gradient jumps in it (`Watch` in
            `lrsearch.tasks` has the rule), the warmup becomes twice as long, as long as it stays
            within half the run. So the schedule has its curve only once the warmup is over, and is
            then written down with `doubled_at`, and without `adjust`. Not if prepended.
        doubled_at: fractions of the run, increasing, each within the warmup: from there on it is
            twice as long as before, and the rate that of a warmup of such a length.

    Raises:
        ScheduleError: if a value breaks its rule.

    Example:
        >>> from lrsearch.schedules import Constant, Schedule, Warmup
        >>> Schedule(Constant(), base_lr=1.0, warmup=Warmup("linear", 0.5)).curve(8).tolist()
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
        >>> Warmup("cosine", fraction=0.1, start=0.2)(0.5)
        0.6
        >>> longer = Schedule(Constant(), base_lr=1.0, warmup=Warmup("linear", 0.5, prepend=True))
        >>> longer.run_length(4), longer.curve(6).tolist()
        (6, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
        >>> doubled = Warmup("linear", 0.25, doubled_at=(0.125,))
        >>> Schedule(Constant(), base_lr=1.0, warmup=doubled).curve(8).tolist()
        [0.5, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    shape: str
    fraction: float
    start: float = 0.0
    prepend: bool = False
    from_zero: bool = False
    adjust: bool = False
    doubled_at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.shape not in list(SHAPES):  # a list: what stands in a file need not be hashable
            raise ScheduleError(
                f"no warmup has the shape {self.shape!r}; {nearest(str(self.shape), SHAPES)}"
            )
        _check_number("warmup.fraction", self.fraction, "0 < fraction < 1, a part of the run")
        if not 0 < self.fraction < 1:
            raise ScheduleError(
                "warmup.fraction must be 0 < fraction < 1, a part of the run, "
                f"but got {self.fraction}; shorten the warmup or leave it out"
            )
        _check_number("warmup.start", self.start, "0 ≤ start ≤ 1")
        if not 0 <= self.start <= 1:
            raise ScheduleError(f"warmup.start must be 0 ≤ start ≤ 1, but got {self.start}")
        for name in ("prepend", "from_zero", "adjust"):
            if not isinstance(value := getattr(self, name), bool):
                raise ScheduleError(f"warmup.{name} must be true or false, but got {value!r}")
        if not isinstance(self.doubled_at, list | tuple):
            raise ScheduleError(f"warmup.doubled_at must be fractions, but got {self.doubled_at!r}")
        object.__setattr__(self, "doubled_at", tuple(self.doubled_at))  # a list in a file
        if self.prepend and (self.adjust or self.doubled_at):
            raise ScheduleError(
                "a prepended warmup cannot be lengthened as it trains, since the run would get "
                "longer too; leave prepend or adjust out"
            )
        self._check_doublings()

    def _check_doublings(self) -> None:
        last, length = 0.0, self.fraction
        for point in self.doubled_at:
            _check_number("warmup.doubled_at", point, "0 < fraction < 1, a part of the run")
            if not last < point < length or 2 * length >= 1:
                raise ScheduleError(
                    "warmup.doubled_at must increase, each within a warmup whose double is shorter "
                    f"than the run, but got {list(self.doubled_at)} with {self.fraction:g}"
                )
            last, length = point, 2 * length

    def length(self, total_steps: int) -> float:
        """Return W, the updates of the warmup in a run of `total_steps`, itself among them."""
        fraction = math.ldexp(self.fraction, len(self.doubled_at))
        return total_steps * fraction / (1 + self.fraction if self.prepend else 1)

    def at(self, step: int, total_steps: int) -> float:
        """Return the multiple of the peak at an update of the warmup."""
        to_come = sum(step < point * total_steps - 1e-6 for point in self.doubled_at)
        length = self.length(total_steps) / 2**to_come
        return self((step if self.from_zero else step + 1) / length)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; of what is seldom set only what is."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) or not isinstance(field.default, bool | tuple)
        }

    def __call__(self, u: float) -> float:
        """Return the multiple of the peak at u in [0, 1]."""
        return self.start + (1 - self.start) * SHAPES[self.shape](min(1.0, u))


def _check_number(name: str, value: Any, rule: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScheduleError(f"{name} must be a number with {rule}, but got {value!r}")
