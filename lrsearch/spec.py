"""What a study is: TOML ↔ a validated value ↔ JSON."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lrsearch.choosing import PRUNERS, build_pruner, build_sampler
from lrsearch.domains import Domain, Suggester, read_domain
from lrsearch.errors import DomainError, LrsearchError, SpecError, nearest
from lrsearch.horizons import HorizonsPruner, check_horizons, default_horizons
from lrsearch.schedules import Schedule
from lrsearch.space import BASE_LR, SearchSpace

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StudySection(_Section):
    """`[study]`: name, number of trials, what is compared and which way is better."""

    name: str = Field(min_length=1)
    trials: int = Field(ge=1)
    metric: str = Field(default="val_accuracy", min_length=1)
    direction: Literal["maximize", "minimize"] = "maximize"
    seed: int = Field(default=0, ge=0, lt=2**32)


class TaskSection(_Section):
    """`[task]`: where the task is (`module:attribute`) and its options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    run: str = Field(pattern=r"^[\w.]+:[\w.]+$")

    @property
    def options(self) -> dict[str, Any]:
        """The task's own options, as they stand in the file."""
        return dict(self.model_extra or {})


class SamplerSection(_Section):
    """`[sampler]`: a kind and the options of Optuna's class for it."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of Optuna's class that differ from the defaults."""
        return dict(self.model_extra or {})


def _increase(horizons: list[int] | None) -> list[int] | None:
    rising = [0, *(horizons or [])]
    if horizons == [] or any(a >= b for a, b in pairwise(rising)):
        raise ValueError("must be whole epochs from 1, each more than the last")
    return horizons


Horizons = Annotated[list[int] | None, AfterValidator(_increase)]
"""Epochs of the runs of a trial, the last being the full run."""


class HorizonsPruning(_Section):
    """`[pruning]`, kind "horizons": rungs of whole schedules; if left out, by the run's length."""

    kind: Literal["horizons"] = "horizons"
    horizons: Horizons = None
    reduction_factor: float = Field(default=4, ge=2, allow_inf_nan=False)


class EpochsPruning(_Section):
    """`[pruning]`, kind "epochs": one of Optuna's pruners, and the options of its class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: Literal["epochs"]
    pruner: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of Optuna's class that differ from the defaults."""
        return dict(self.model_extra or {})


class NoPruning(_Section):
    """`[pruning]`, kind "none": every trial trains the full run, and before it any horizons."""

    kind: Literal["none"]
    horizons: Horizons = None


_PRUNING: dict[str, type[BaseModel]] = {
    "horizons": HorizonsPruning,
    "epochs": EpochsPruning,
    "none": NoPruning,
}


class WorkersSection(_Section):
    """`[workers]`: seconds until a silent worker is given up, and how much failure ends a study."""

    lease: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    max_failures: int = Field(default=3, ge=1)
    max_restarts: int = Field(default=3, ge=0)


class ConfirmSection(_Section):
    """`[confirm]`: every schedule of the study is trained on each seed, and tested once.

    `of` is the study whose winner is to be confirmed. For each schedule, `names` has what it is
    called, `trials` its number there, and `options` the values of searched options of the task.
    """

    seeds: list[int] = Field(min_length=2)
    of: str | None = None
    names: list[str] = []
    trials: list[int] = []
    options: list[dict[str, Any]] = []


class StudySpec(_Section):
    """A whole study file, validated.

    Reading one raises `SpecError` with the key, its value, the rule and the fix.
    """

    study: StudySection
    task: TaskSection
    space: dict[str, Any] = {}
    sampler: SamplerSection = SamplerSection(kind="tpe")
    pruning: Annotated[HorizonsPruning | EpochsPruning | NoPruning, Field(discriminator="kind")] = (
        HorizonsPruning()
    )
    workers: WorkersSection = WorkersSection()
    schedules: list[dict[str, Any]] = []
    confirm: ConfirmSection | None = None

    @classmethod
    def from_toml(cls, path: str | Path) -> StudySpec:
        """Read a study file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise SpecError(f"cannot read the study file {path}: {reason}") from None
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path} is not valid TOML: {error}") from None
        try:
            return cls.from_dict(data)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, data: Any) -> StudySpec:
        """Read the JSON form, which has the study file's keys."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(_in_words(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; `from_dict` gives back an equal spec."""
        return self.model_dump(mode="json")

    def differences(self, other: StudySpec) -> list[str]:
        """Return the keys in which `other` differs, each with both values."""
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        return [
            f"{key}: {mine.get(key, 'not set')!r} → {theirs.get(key, 'not set')!r}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]

    def search_space(self, base_lr: Domain | None = None) -> SearchSpace:
        """Return the space of schedules; `base_lr` is the task's default domain, if it has one."""
        domains = {key: value for key, value in self.space.items() if key != "families"}
        own = {key: value for key, value in domains.items() if not key.startswith("task.")}
        return SearchSpace.read(self.space.get("families"), own, base_lr or BASE_LR)

    def task_options(self, trial: Suggester | None = None) -> dict[str, Any]:
        """Return the task's options, the searched ones (`task.option`) suggested by `trial`.

        Without a trial each searched option takes the first of its extreme values.
        """
        options = self.task.options
        for name, domain in self._task_domains().items():
            value = domain.extremes()[0] if trial is None else domain.suggest(trial, name)
            *path, last = name.split(".")[1:]
            table = options
            for key in path:
                inner = table.get(key, {})
                table[key] = {"name": inner} if isinstance(inner, str) else dict(inner)
                table = table[key]
            table[last] = value
        return options

    def given_schedules(self) -> list[Schedule]:
        """Return the schedules of `[[schedules]]`, which are trained as given, first."""
        return [Schedule.from_dict(schedule) for schedule in self.schedules]

    def build_sampler(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler for this study, with that seed."""
        return build_sampler(self.sampler.kind, self.sampler.options, seed)

    def build_pruner(self) -> BasePruner:
        """Return the pruner of this study, for Optuna."""
        from optuna.pruners import NopPruner

        match self.pruning:
            case HorizonsPruning(reduction_factor=factor):
                return HorizonsPruner(factor)
            case EpochsPruning(pruner=name, options=options):
                return build_pruner(name, options)
            case NoPruning():
                return NopPruner()

    @property
    def compares_epochs(self) -> bool:
        """Whether trials are compared after each epoch, and not at the end of each run."""
        match self.pruning:
            case HorizonsPruning():
                return False
            case EpochsPruning():
                return True
            case NoPruning(horizons=horizons):
                return horizons is None

    def horizons(self, epochs: int, steps_per_epoch: int) -> tuple[int, ...]:
        """Return the epochs of each run of a trial, where the full run has `epochs`.

        Raises:
            SpecError: if the horizons of the study do not fit that run.
        """
        if isinstance(self.pruning, EpochsPruning):
            return (epochs,)
        if self.pruning.horizons is None:
            full = isinstance(self.pruning, NoPruning)
            return (epochs,) if full else default_horizons(epochs, steps_per_epoch)
        check_horizons(self.pruning.horizons, epochs, steps_per_epoch)
        return tuple(self.pruning.horizons)

    def _task_domains(self) -> dict[str, Domain]:
        found = {key: value for key, value in self.space.items() if key.startswith("task.")}
        domains = {}
        for name, value in found.items():
            try:
                domains[name] = read_domain(value)
            except DomainError as error:
                raise SpecError(f"space.{name}: {error}") from None
        return domains

    def model_post_init(self, _: Any) -> None:
        """Check what pydantic cannot: the space, the schedules, Optuna's own options."""
        names = self.space.get("families", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SpecError(f"space.families must be a list of names, but got {names!r}")
        try:
            self.search_space()
        except LrsearchError as error:
            raise SpecError(str(error)) from None
        for index, schedule in enumerate(self.schedules, 1):
            try:
                Schedule.from_dict(schedule)
            except LrsearchError as error:
                raise SpecError(f"[[schedules]] number {index}: {error}") from None
        epochs = self._task_domains().get("task.epochs")
        if epochs and len(set(epochs.extremes())) > 1:
            raise SpecError("space.task.epochs must be fixed: the longest run would always win")
        self.build_sampler(seed=0)
        self.build_pruner()
        if self.confirm:
            self._check_confirm(self.confirm)

    def _check_confirm(self, confirm: ConfirmSection) -> None:
        """Refuse a confirmation that could not be compared."""
        count = len(self.schedules)
        if len(set(confirm.seeds)) < len(confirm.seeds) or min(confirm.seeds) < 0:
            raise SpecError(f"confirm.seeds must be different and at least 0: {confirm.seeds}")
        if count < 1 or self.study.trials != count * len(confirm.seeds):
            raise SpecError(
                f"study.trials is {self.study.trials}, but {count} [[schedules]] on "
                f"{len(confirm.seeds)} seeds are {count * len(confirm.seeds)} trials"
            )
        for key in ("names", "trials", "options"):
            if (given := getattr(confirm, key)) and len(given) != count:
                raise SpecError(
                    f"confirm.{key} must have one for each of the {count} [[schedules]]"
                )
        if self.pruning != NoPruning(kind="none"):
            raise SpecError('pruning.kind must be "none" where schedules are confirmed')


def _in_words(error: ValidationError) -> str:
    """Turn pydantic's findings into one line each: key, value, rule, nearest known key."""
    lines = []
    for finding in error.errors():
        path = ".".join(str(part) for part in finding["loc"])
        if finding["loc"][:1] == ("pruning",):
            path = ".".join(["pruning", *map(str, finding["loc"][2:])])  # without its kind
        if finding["type"] == "extra_forbidden":
            section = _section(finding["loc"][:-1])
            lines.append(f"unknown key {path!r}; {nearest(str(finding['loc'][-1]), section)}")
        elif finding["type"] == "union_tag_invalid":
            lines.append(_no_kind(finding["input"]["kind"]))
        elif finding["type"] == "union_tag_not_found":
            lines.append(f"{path}.kind is missing; add one of {', '.join(_PRUNING)}")
        elif finding["type"] == "missing":
            lines.append(f"{path} is missing; add it")
        else:
            rule = _lower(finding["msg"]).removeprefix("value error, ")
            lines.append(f"{path} = {finding['input']!r}: {rule}")
    return "; ".join(lines)


def _section(path: tuple[int | str, ...]) -> Iterable[str]:
    """Return the keys of the section at that place; pydantic's path has the pruning's kind too."""
    if path[:1] == ("pruning",):
        return _PRUNING[str(path[1])].model_fields
    section: Any = StudySpec
    for key in path:
        annotation = section.model_fields[str(key)].annotation
        section = next(iter(get_args(annotation)), annotation)
    return list(section.model_fields)


def _no_kind(kind: object) -> str:
    if kind in PRUNERS:
        return f'pruning.kind is {kind!r}; write kind = "epochs" and pruner = "{kind}"'
    return f"pruning.kind is {kind!r}; {nearest(str(kind), [*_PRUNING, *PRUNERS])}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
