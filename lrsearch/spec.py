"""What a study is: TOML ↔ a validated value ↔ JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrsearch.choosing import build_pruner, build_sampler
from lrsearch.domains import Domain, Suggester, read_domain
from lrsearch.errors import DomainError, LrsearchError, SpecError, nearest
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


class KindSection(_Section):
    """`[sampler]` or `[pruning]`: a kind and the options of Optuna's class for it."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of Optuna's class that differ from the defaults."""
        return dict(self.model_extra or {})


class WorkersSection(_Section):
    """`[workers]`: seconds until a silent worker is given up, and how much failure ends a study."""

    lease: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    max_failures: int = Field(default=3, ge=1)
    max_restarts: int = Field(default=3, ge=0)


class StudySpec(_Section):
    """A whole study file, validated.

    Reading one raises `SpecError` with the key, its value, the rule and the fix.
    """

    study: StudySection
    task: TaskSection
    space: dict[str, Any] = {}
    sampler: KindSection = KindSection(kind="tpe")
    pruning: KindSection = KindSection(kind="percentile")
    workers: WorkersSection = WorkersSection()
    schedules: list[dict[str, Any]] = []

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
        """Return Optuna's pruner for this study."""
        return build_pruner(self.pruning.kind, self.pruning.options)

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
        self._task_domains()
        self.build_sampler(seed=0)
        self.build_pruner()


def _in_words(error: ValidationError) -> str:
    """Turn pydantic's findings into one line each: key, value, rule, nearest known key."""
    lines = []
    for finding in error.errors():
        path = ".".join(str(part) for part in finding["loc"])
        if finding["type"] == "extra_forbidden":
            *parents, last = finding["loc"]
            section: Any = StudySpec
            for parent in parents:
                section = section.model_fields[str(parent)].annotation
            lines.append(f"unknown key {path!r}; {nearest(str(last), section.model_fields)}")
        elif finding["type"] == "missing":
            lines.append(f"{path} is missing; add it")
        else:
            lines.append(f"{path} = {finding['input']!r}: {_lower(finding['msg'])}")
    return "; ".join(lines)


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
