"""What a schedule family is: a frozen shape whose fields carry their search domains."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from lrsearch.errors import ScheduleError, nearest
from lrsearch.schedules.domains import Choice, Domain, Fixed


class Position(NamedTuple):
    """Where a run stands when a learning rate is asked for.

    `x` in [0, 1) is the progress after the warmup; `step` in 0 … `total_steps` − 1 is the update;
    `losses` are the validation losses of the evaluations so far.
    """

    x: float
    step: int
    total_steps: int
    losses: Sequence[float]


def completed(x: float, period: float) -> int:
    """Return how many whole periods lie in [0, x]; a boundary within 1e-9 of a period is reached.

    A plain ⌊x / period⌋ misses boundaries by rounding: at x = 0.3 and period 0.1 it gives 2.

    Example:
        >>> completed(0.3, 0.1), completed(0.25, 0.1), int(0.3 / 0.1)
        (3, 2, 2)
    """
    return math.floor(x / period + 1e-9)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family: its default, its search domain, the values it may have.

    Bounds: `above` <, `at_least` ≤ value, value < `below`, ≤ `at_most`. `only_if` names another
    field and the value it must have for this one to be in use.
    """

    default: Any
    domain: Domain
    above: float = -math.inf
    at_least: float = -math.inf
    below: float = math.inf
    at_most: float = math.inf
    only_if: tuple[str, Any] | None = None

    def rule(self) -> str:
        """Return the rule in words.

        Example:
            >>> Parameter(0.5, Fixed(0.5), above=0, at_most=1).rule()
            '0 < value ≤ 1'
        """
        if isinstance(self.domain, Choice):
            return f"one of {self.domain}"
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "a name"
        low = f"{self.above:g} < " if self.above > self.at_least else f"{self.at_least:g} ≤ "
        high = f" < {self.below:g}" if self.below < self.at_most else f" ≤ {self.at_most:g}"
        kind = {int: "a whole number", tuple: "each value"}.get(type(self.default), "value")
        return f"{low.replace('-inf ≤ ', '')}{kind}{high.replace(' ≤ inf', '')}"

    def in_use(self, values: Mapping[str, Any]) -> bool:
        """Return whether this parameter is in use, given the values of those before it."""
        return self.only_if is None or values[self.only_if[0]] == self.only_if[1]

    def read(self, value: Any) -> Any:
        """Return `value` as this parameter's type (tuples of floats, floats, ints, strings, bools).

        Raises:
            ValueError: if it has another type or breaks the rule.
        """
        if isinstance(self.domain, Choice):
            if value not in self.domain.choices:
                raise ValueError
            return value
        if isinstance(self.default, bool | str):
            if type(value) is not type(self.default):
                raise ValueError
            if isinstance(value, str) and not value.isidentifier():  # exports write it as it is
                raise ValueError
            return value
        if isinstance(self.default, tuple):
            if not isinstance(value, list | tuple):
                raise ValueError
            return tuple(self._number(float, member) for member in value)
        return self._number(type(self.default), value)

    def _number(self, kind: type, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        inside = (whole or (kind is float and isinstance(value, float))) and (
            abs(value) <= sys.float_info.max
            and self.above < value < self.below
            and self.at_least <= value <= self.at_most
        )
        if not inside:
            raise ValueError
        return kind(value)


def parameter(default: Any, domain: Domain | None = None, **rule: Any) -> Any:
    """Declare a family's field; without a domain it is not searched unless a study gives one."""
    declared = Parameter(default, domain or Fixed(default), **rule)
    return field(default=default, metadata={"parameter": declared})


_registry: dict[str, type["Family"]] = {}
families: Mapping[str, type["Family"]] = MappingProxyType(_registry)
"""Every family by its name, in the order in which they are defined."""


class Family:
    """Base of the families: a multiple of `base_lr`, in [0, 1], as a pure function of the position.

    A subclass is a frozen dataclass. It declares its fields with `parameter` and writes its
    formula as `__call__`; everything else follows from the registry.
    """

    name: ClassVar[str]
    use_when: ClassVar[str]
    drawback: ClassVar[str]
    has_own_warmup: ClassVar[bool] = False
    """Whether the family rises by itself, so that no warmup is laid before it."""
    reads_losses: ClassVar[bool] = False
    """Whether the multiple depends on the validation losses so far, or on what `watches` names."""

    def __init_subclass__(cls) -> None:
        _registry[cls.name] = cls

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Return the declared parameters by their names."""
        declared: dict[str, Field[Any]] = getattr(cls, "__dataclass_fields__", {})
        return {name: field.metadata["parameter"] for name, field in declared.items()}

    def __post_init__(self) -> None:
        """Check every field against its rule.

        Raises:
            ScheduleError: naming the field, its value and the rule.
        """
        for name, parameter in self.parameters().items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, parameter.read(value))
            except ValueError:
                raise ScheduleError(
                    f"{self.name}.{name} must be {parameter.rule()}, but got {value!r}"
                ) from None
            if value != parameter.default and not parameter.in_use(vars(self)):
                other, needed = parameter.only_if or ("", None)
                raise ScheduleError(
                    f"{self.name}.{name} = {value!r} is used only with {other} = {needed!r}, "
                    f"but {other} is {getattr(self, other)!r}; leave {name} out"
                )
        self.check()

    def watches(self) -> str:
        """Return which metric of the validations so far it reads in the losses' place."""
        return "val_loss"

    def check(self) -> None:
        """Check what no single field can tell: nothing, unless a family says otherwise."""

    def __call__(self, position: Position) -> float:
        """Return the multiple of `base_lr` for one update."""
        raise NotImplementedError

    def momentum(self, position: Position) -> float | None:
        """Return the momentum for one update; `None` where the family leaves it alone."""
        return None


def family_named(name: str) -> type[Family]:
    """Return the family of that name.

    Raises:
        ScheduleError: if there is none, with the nearest.

    Example:
        >>> from lrsearch.schedules import family_named
        >>> family_named("cosine")(min_factor=0.1)
        Cosine(min_factor=0.1)
    """
    if name not in list(families):  # a list: what stands in a file need not be hashable
        raise ScheduleError(f"no schedule is called {name!r}; {nearest(str(name), families)}")
    return families[name]
