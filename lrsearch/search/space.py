"""The conditional search space: the schedule's family and its parameters in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from lrsearch.errors import DomainError, ScheduleError, SpecError, nearest
from lrsearch.schedules import (
    SHAPES,
    Choice,
    Domain,
    Fixed,
    Float,
    Int,
    Parameter,
    Scalar,
    Schedule,
    Suggester,
    Warmup,
    families,
    family_named,
    read_domain,
)

BASE_LR = Float(1e-4, 1.0, log=True)
"""The domain of `base_lr` where neither the study nor the task has one."""

_SHARED = {
    "base_lr": Parameter(0.1, BASE_LR, above=0),
    "warmup": Parameter("none", Choice(("none", *SHAPES))),
    "warmup_steps": Parameter(10, Int(10, 100, log=True), at_least=1),
    "warmup_start": Parameter(0.0, Fixed(0.0), at_least=0, at_most=1),
    "warmup_prepend": Parameter(False, Fixed(False)),
    "warmup_from_zero": Parameter(False, Fixed(False)),
    "warmup_adjust": Parameter(False, Fixed(False)),
}


def parameters() -> dict[str, Parameter]:
    """Return every parameter of the space by its name in a study (`family.parameter`)."""
    own = {
        f"{family.name}.{name}": parameter
        for family in families.values()
        for name, parameter in family.parameters().items()
    }
    return _SHARED | own


@dataclass(frozen=True)
class SearchSpace:
    """`schedule`, `base_lr`, `warmup`, `warmup_steps` and the chosen family's own parameters.

    Args:
        families: names of the families to choose from.
        domains: by parameter name, the domains that differ from the defaults.

    Raises:
        SpecError: for an unknown name, or a domain that allows an illegal value.
        ScheduleError: for an unknown family.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> space = SearchSpace(families=("constant", "cosine"), domains={"base_lr": Fixed(0.1)})
        >>> space.suggest(FixedTrial({"schedule": "constant", "warmup": "none"}), total_steps=1000)
        Schedule(family=Constant(), base_lr=0.1, warmup=None)
    """

    families: tuple[str, ...] = tuple(families)
    domains: Mapping[str, Domain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.families or len(set(self.families)) < len(self.families):
            raise SpecError(
                f"space.families must name at least one and none twice: {list(self.families)}"
            )
        for name in self.families:
            family_named(name)
        known = parameters()
        for name, domain in self.domains.items():
            if name not in known:
                raise SpecError(f"space has no parameter {name!r}; {nearest(name, known)}")
            family, dot, _ = name.partition(".")
            if dot and family not in self.families:
                raise SpecError(
                    f"space.{name} belongs to {family!r}, which is not among the families "
                    f"{list(self.families)}; add it there or leave {name} out"
                )
            _check_values(name, known[name], domain)
        for name in self.families:
            self._check_together(name)
        if self.may_be("warmup_prepend") and self.may_be("warmup_adjust"):
            raise SpecError(
                "space.warmup_adjust lengthens a warmup as it trains, which makes no run longer, "
                "and space.warmup_prepend does; leave one out"
            )

    @classmethod
    def read(
        cls,
        names: Sequence[str] | None = None,
        domains: Mapping[str, Any] | None = None,
        base_lr: Domain = BASE_LR,
    ) -> SearchSpace:
        """Read a space as a study file writes it.

        Args:
            names: families to choose from; `None` for all.
            domains: by parameter name, a `Domain` or what `read_domain` reads.
            base_lr: the domain of `base_lr` if `domains` has none.

        Example:
            >>> space = SearchSpace.read(["step"], {"base_lr": {"low": 0.01, "high": 1.0}})
            >>> str(space.domain("base_lr"))
            '0.01 … 1 (log)'
        """
        likes = {name: parameter.domain for name, parameter in parameters().items()}
        likes["base_lr"] = base_lr
        read = {"base_lr": base_lr}
        for name, value in (domains or {}).items():
            try:
                domain = isinstance(value, Domain)
                read[name] = value if domain else read_domain(value, likes.get(name))
            except DomainError as error:
                raise SpecError(f"space.{name}: {error}") from None
        return cls(tuple(families) if names is None else tuple(names), read)

    def suggest(self, trial: Suggester, total_steps: int) -> Schedule:
        """Suggest a schedule for a run of `total_steps` updates."""
        family = families[str(trial.suggest_categorical("schedule", self.families))]
        base_lr = self.domain("base_lr").suggest(trial, "base_lr")
        warmup = None if family.has_own_warmup else self._suggest_warmup(trial, total_steps)
        values: dict[str, Any] = {}
        for name, parameter in family.parameters().items():
            if parameter.in_use(values):
                full_name = f"{family.name}.{name}"
                values[name] = self.domain(full_name).suggest(trial, full_name)
        return Schedule(family(**values), base_lr, warmup)

    def params(self, schedule: Schedule, total_steps: int) -> dict[str, Scalar] | None:
        """Return the trial parameters that `suggest` turns into `schedule`; `None` if outside."""
        family = type(schedule.family)
        if family.name not in self.families:
            return None
        values = {"base_lr": schedule.base_lr}
        if schedule.warmup and schedule.warmup.doubled_at:
            return None  # it came out of a run
        if not family.has_own_warmup and self.warmup_steps(total_steps) is not None:
            values |= _warmup_values(schedule.warmup, total_steps)
        elif schedule.warmup is not None:
            return None
        own = {name: getattr(schedule.family, name) for name in family.parameters()}
        for name, parameter in family.parameters().items():
            if parameter.in_use(own):
                values[f"{family.name}.{name}"] = own[name]
        parts = (self._domain_in(name, total_steps).params(name, v) for name, v in values.items())
        return _merged(({"schedule": family.name}, *parts))

    def domain(self, name: str) -> Domain:
        """Return the domain of the parameter `name`."""
        return self.domains.get(name) or parameters()[name].domain

    def may_be(self, name: str) -> bool:
        """Return whether a parameter that is true or false may be true."""
        return True in self.domain(name).extremes()

    def warmup_steps(self, total_steps: int) -> Domain | None:
        """From 10 updates to 10 % of the run unless the study says otherwise; none if too short."""
        if "warmup_steps" in self.domains:
            return self.domains["warmup_steps"]
        return Int(10, total_steps // 10, log=True) if total_steps >= 100 else None

    def check_run(self, total_steps: int, unit: str = "updates") -> None:
        """Refuse warmups that do not fit a run of `total_steps` updates, or of another unit.

        Raises:
            SpecError: if `warmup_steps` may reach the whole run.
        """
        steps = self.warmup_steps(total_steps)
        if steps and max(steps.extremes()) >= total_steps:
            raise SpecError(
                f"space.warmup_steps must stay under the run's {total_steps} {unit}, "
                f"but may be {max(steps.extremes())}; shorten it or train longer"
            )

    def _check_together(self, name: str) -> None:
        """Refuse domains of a family that allow values which do not go together."""
        family = families[name]
        names = list(family.parameters())
        extremes = (self.domain(f"{name}.{parameter}").extremes() for parameter in names)
        for combination in product(*extremes):
            values = dict(zip(names, combination, strict=True))
            used = {k: v for k, v in values.items() if family.parameters()[k].in_use(values)}
            try:
                family(**used)
            except ScheduleError as error:
                raise SpecError(f"space allows what no schedule may be: {error}") from None

    def _suggest_warmup(self, trial: Suggester, total_steps: int) -> Warmup | None:
        steps = self.warmup_steps(total_steps)
        if steps is None:
            return None
        shape = self.domain("warmup").suggest(trial, "warmup")
        if shape == "none":
            return None
        fraction = steps.suggest(trial, "warmup_steps") / total_steps
        others = ("start", "prepend", "from_zero", "adjust")
        names = {name: f"warmup_{name}" for name in others}
        chosen = {key: self.domain(name).suggest(trial, name) for key, name in names.items()}
        return Warmup(shape, fraction, **chosen)

    def _domain_in(self, name: str, total_steps: int) -> Domain:
        steps = self.warmup_steps(total_steps) if name == "warmup_steps" else None
        return steps or self.domain(name)


def _warmup_values(warmup: Warmup | None, total_steps: int) -> dict[str, Any]:
    if warmup is None:
        return {"warmup": "none"}
    count = warmup.fraction * total_steps
    whole = round(count) if abs(count - round(count)) < 1e-9 else count
    return {
        "warmup": warmup.shape,
        "warmup_steps": whole,
        "warmup_start": warmup.start,
        "warmup_prepend": warmup.prepend,
        "warmup_from_zero": warmup.from_zero,
        "warmup_adjust": warmup.adjust,
    }


def _merged(parts: Iterable[Mapping[str, Scalar] | None]) -> dict[str, Scalar] | None:
    merged: dict[str, Scalar] = {}
    for part in parts:
        if part is None:
            return None
        merged |= part
    return merged


def _check_values(name: str, parameter: Parameter, domain: Domain) -> None:
    for value in domain.extremes():
        try:
            parameter.read(value)
        except ValueError:
            raise SpecError(
                f"space.{name} must be {parameter.rule()}, but may be {value!r}"
            ) from None


def suggest_schedule(
    trial: Suggester,
    total_steps: int,
    *,
    families: Sequence[str] | None = None,
    domains: Mapping[str, Any] | None = None,
) -> Schedule:
    """Suggest a schedule in your own Optuna objective.

    Args:
        trial: an Optuna trial (or `FixedTrial`, to rebuild a schedule from `trial.params`).
        total_steps: the length of the run in updates.
        families: names of the families to choose from; all if left out.
        domains: narrowed or fixed parameters, as in a study file, such as
            `{"base_lr": {"low": 1e-3, "high": 0.1}, "step.drop_factor": 0.5}`.

    Raises:
        SpecError: for an unknown name, a domain that allows an illegal value, or a warmup that
            does not fit the run, or would have to be adjusted as it trains.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> params = {"schedule": "noam", "base_lr": 0.1, "noam.warmup_fraction": 0.1}
        >>> schedule = suggest_schedule(FixedTrial(params), total_steps=1000)
        >>> schedule.family.name, round(schedule.lr(99, 1000), 3)
        ('noam', 0.1)
    """
    space = SearchSpace.read(families, domains)
    space.check_run(total_steps)
    if space.may_be("warmup_adjust"):
        raise SpecError(
            "warmup_adjust needs a study of lrsearch, whose trials watch the loss of every update; "
            "an objective of your own trains the curve that it is given: leave it out"
        )
    return space.suggest(trial, total_steps)
