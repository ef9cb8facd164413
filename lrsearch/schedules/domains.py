"""Search domains: frozen values that suggest themselves to an Optuna trial.

Optuna is not imported here: a domain only calls the `suggest_*` methods of the trial it is given.
"""

import sys
from dataclasses import dataclass, fields
from typing import Any, Protocol

from lrsearch.errors import DomainError, nearest

Scalar = bool | int | float | str


class Suggester(Protocol):
    """What a domain needs of a trial (`optuna.Trial` and `optuna.trial.FixedTrial` have it)."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float:
        """Suggest a float in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int:
        """Suggest an int in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Suggest one of the choices."""
        ...


class Domain:
    """Base of all domains.

    A domain suggests a value under a name and, the other way round, says which trial parameters
    stand for a value (`params`), or `None` if the value lies outside.
    """

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Suggest a value of this domain to `trial` under `name`."""
        raise NotImplementedError

    def params(self, name: str, value: Any) -> dict[str, Scalar] | None:
        """Return the trial parameters that `suggest` would turn into `value`."""
        raise NotImplementedError

    def extremes(self) -> tuple[Any, ...]:
        """Return values that must be legal for all of the domain to be."""
        raise NotImplementedError


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not -sys.float_info.max <= low <= high <= sys.float_info.max:
        raise DomainError(f"low <= high must hold with both finite, but got {low=}, {high=}")
    if log and low <= 0:
        raise DomainError(f"a log domain must have low > 0, but got {low=}; raise it or drop log")


@dataclass(frozen=True)
class Float(Domain):
    """Floats in [low, high], uniform on the axis or on its logarithm.

    Raises:
        DomainError: if low > high, a bound is not finite, or a log domain does not begin above 0.

    Example:
        >>> from lrsearch.schedules import Float
        >>> rates = Float(1e-3, 1.0, log=True)
        >>> print(rates)
        0.001 … 1 (log)
        >>> rates.params("base_lr", 0.1), rates.params("base_lr", 2.0)
        ({'base_lr': 0.1}, None)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def suggest(self, trial: Suggester, name: str) -> float:
        """Suggest a float."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def params(self, name: str, value: float) -> dict[str, Scalar] | None:
        """Return `{name: value}` if the value lies inside."""
        return {name: value} if self.low <= value <= self.high else None

    def extremes(self) -> tuple[float, ...]:
        """Return both ends."""
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Int(Domain):
    """Integers in [low, high], uniform on the axis or on its logarithm.

    Raises:
        DomainError: if low > high, or a log domain does not begin above 0.

    Example:
        >>> from lrsearch.schedules import Int
        >>> Int(0, 3).params("patience", 2.0), Int(0, 3).params("patience", 2.5)
        ({'patience': 2}, None)
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def suggest(self, trial: Suggester, name: str) -> int:
        """Suggest an int."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def params(self, name: str, value: float) -> dict[str, Scalar] | None:
        """Return `{name: value}` if the value is an integer inside."""
        inside = self.low <= value <= self.high and value == int(value)
        return {name: int(value)} if inside else None

    def extremes(self) -> tuple[int, ...]:
        """Return both ends."""
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low} … {self.high}{' (log)' if self.log else ''}, whole"


@dataclass(frozen=True)
class Choice(Domain):
    """One of a few values.

    Raises:
        DomainError: if there are none, two are equal, or one is no number, word or truth value.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> from lrsearch.schedules import Choice
        >>> Choice(("cos", "linear")).suggest(FixedTrial({"anneal": "linear"}), "anneal")
        'linear'
    """

    choices: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        scalars = all(isinstance(choice, Scalar) for choice in self.choices)
        if not (self.choices and scalars and len(set(self.choices)) == len(self.choices)):
            raise DomainError(
                "choices must be one or more numbers, words or truth values that differ, "
                f"but got {list(self.choices)}"
            )

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        """Suggest one of the choices."""
        value: Scalar = trial.suggest_categorical(name, self.choices)
        return value

    def params(self, name: str, value: Scalar) -> dict[str, Scalar] | None:
        """Return `{name: value}` if the value is one of the choices."""
        return {name: value} if value in self.choices else None

    def extremes(self) -> tuple[Scalar, ...]:
        """Return every choice."""
        return self.choices

    def __str__(self) -> str:
        return ", ".join(str(choice) for choice in self.choices)


@dataclass(frozen=True)
class Fixed(Domain):
    """One value, which is not searched: it leaves no parameter in the trial.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> from lrsearch.schedules import Fixed
        >>> Fixed(0.5).suggest(FixedTrial({}), "drop_factor")
        0.5
    """

    value: Any

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the value; the trial is not asked."""
        return self.value

    def params(self, name: str, value: Any) -> dict[str, Scalar] | None:
        """Return no parameters if the value is this one."""
        return {} if value == self.value else None

    def extremes(self) -> tuple[Any, ...]:
        """Return the value."""
        return (self.value,)

    def __str__(self) -> str:
        return f"{self.value}"


@dataclass(frozen=True)
class Increasing(Domain):
    """One to `max_count` increasing fractions of the run, strictly between 0 and 1.

    Searched as `name.count` and `name.1`, `name.2`, …: the share in [low, high] of what is left
    of the run that passes before the next fraction (m₀ = 0, mₖ = mₖ₋₁ + shareₖ · (1 − mₖ₋₁)).
    Every draw is increasing, and no two draws mean the same fractions.

    Raises:
        DomainError: if the shares are not in (0, 1), or there may be none.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> from lrsearch.schedules import Increasing
        >>> shares = {"milestones.count": 2, "milestones.1": 0.5, "milestones.2": 0.5}
        >>> Increasing(0.2, 0.8, max_count=3).suggest(FixedTrial(shares), "milestones")
        (0.5, 0.75)
    """

    low: float
    high: float
    max_count: int

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < 1:
            raise DomainError(
                f"0 < low <= high < 1 must hold, but got low={self.low}, high={self.high}"
            )
        if self.max_count < 1:
            raise DomainError(f"max_count must be at least 1, but got {self.max_count}")

    def suggest(self, trial: Suggester, name: str) -> tuple[float, ...]:
        """Suggest increasing fractions."""
        fractions: list[float] = []
        for index in range(1, trial.suggest_int(f"{name}.count", 1, self.max_count) + 1):
            before = fractions[-1] if fractions else 0.0
            share = trial.suggest_float(f"{name}.{index}", self.low, self.high)
            fractions.append(before + share * (1 - before))
        return tuple(fractions)

    def params(self, name: str, value: tuple[float, ...]) -> dict[str, Scalar] | None:
        """Return the count and the shares, if all lie inside."""
        if not 1 <= len(value) <= self.max_count:
            return None
        params: dict[str, Scalar] = {f"{name}.count": len(value)}
        for index, (before, fraction) in enumerate(zip((0.0, *value), value, strict=False), 1):
            share = (fraction - before) / (1 - before)
            inside = min(max(share, self.low), self.high)
            if abs(share - inside) > 1e-9:  # a share drawn at an end comes back a rounding off it
                return None
            params[f"{name}.{index}"] = inside
        return params

    def extremes(self) -> tuple[tuple[float, ...], ...]:
        """Return the shortest and the longest draws at both ends."""
        return tuple(
            tuple(1 - (1 - share) ** k for k in range(1, count + 1))
            for share in (self.low, self.high)
            for count in (1, self.max_count)
        )

    def __str__(self) -> str:
        return f"1 … {self.max_count} fractions, each {self.low:g} … {self.high:g} of what is left"


def read_domain(value: Any, like: Domain | None = None) -> Domain:
    """Read a domain as a study file writes it.

    Args:
        value: `{low, high, log}` (`max_count` too where fractions are searched), `{choices}`, or
            a plain value, which fixes the parameter. Keys left out keep the default's.
        like: the parameter's default domain, if it has one: it says what kind of value is searched.

    Raises:
        DomainError: for an unknown key, a wrong type or a broken rule.

    Example:
        >>> from lrsearch.schedules import Float, read_domain
        >>> read_domain({"low": 0.1}, like=Float(0.01, 0.3, log=True))
        Float(low=0.1, high=0.3, log=True)
        >>> read_domain({"choices": ["none", "linear"]})
        Choice(choices=('none', 'linear'))
        >>> read_domain(0.5)
        Fixed(value=0.5)
    """
    if not isinstance(value, dict):
        return Fixed(tuple(value) if isinstance(value, list) else value)
    if "choices" in value:
        if set(value) != {"choices"} or not isinstance(value["choices"], list):
            raise DomainError(f"choices stand alone, as a list, but got {value}")
        return Choice(tuple(value["choices"]))
    kind = _kind(value, like)
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(value) - known):
        raise DomainError(f"a domain has no key {unknown[0]!r}; {nearest(unknown[0], known)}")
    merged = (vars(like) if isinstance(like, kind) else {}) | value
    for key in ("low", "high"):
        if key not in merged:
            raise DomainError(f"a domain needs low and high, but {key} is missing in {value}")
    types: dict[str, tuple[type, ...]] = {"log": (bool,), "max_count": (int,)}
    number = (int,) if kind is Int else (int, float)
    for key, given in merged.items():
        if type(given) not in (allowed := types.get(key, number)):
            names = " or ".join(type_.__name__ for type_ in allowed)
            raise DomainError(f"{key} must be of type {names}, but got {given!r}")
    return kind(**merged)


def _kind(value: dict[str, Any], like: Domain | None) -> type[Float | Int | Increasing]:
    if isinstance(like, Float | Int | Increasing):
        return type(like)
    if isinstance(like, Fixed) and isinstance(like.value, float):
        return Float
    whole = all(type(value.get(key)) is int for key in ("low", "high"))
    return Int if whole else Float
