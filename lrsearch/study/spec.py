"""What a study is: TOML ↔ a validated value ↔ JSON."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from lrsearch.errors import DomainError, LrsearchError, SpecError
from lrsearch.schedules import Choice, Domain, Fixed, Schedule, Suggester, families, read_domain
from lrsearch.search import (
    BASE_LR,
    LEARN_FROM_FEW,
    Climb,
    RatesFirstSampler,
    Rung,
    SearchSpace,
    SeededSampler,
    build_pruner,
    check_horizons,
    check_sampler,
    default_horizons,
    family_in_turn,
    rungs_of,
    sampler_builder,
    seen_by_samplers,
    with_longer,
)
from lrsearch.study.sections import (
    ConfirmSection,
    EpochsPruning,
    HorizonsPruning,
    NoPruning,
    RungsPruning,
    SamplerSection,
    Section,
    StudySection,
    TaskSection,
    WorkersSection,
)
from lrsearch.study.spec_errors import format_errors
from lrsearch.tasks import SEARCHED

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class StudySpec(Section):
    """A whole study file, validated.

    Reading one raises `SpecError` with the key, its value, the rule and the fix.
    """

    study: StudySection
    task: TaskSection
    space: dict[str, Any] = Field(default={})
    sampler: SamplerSection = SamplerSection()
    pruning: Annotated[
        RungsPruning | HorizonsPruning | EpochsPruning | NoPruning, Field(discriminator="kind")
    ] = RungsPruning()
    workers: WorkersSection = WorkersSection()
    schedules: list[dict[str, Any]] = Field(default=[])
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
        except RecursionError:
            raise SpecError(f"{path} is nested too deeply for a study file") from None
        try:
            return cls.from_dict(data)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, data: Any) -> StudySpec:
        """Read the JSON form, which has the study file's keys.

        Example:
            >>> study, task = {"name": "first", "trials": 4}, {"run": "my_module:my_task"}
            >>> spec = StudySpec.from_dict({"study": study, "task": task})
            >>> spec.study.metric, spec.sampler.kind, spec.pruning.kind
            ('val_accuracy', 'tpe', 'rungs')
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(format_errors(error, StudySpec)) from None
        except RecursionError:
            raise SpecError("the study is nested too deeply") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; `from_dict` gives back an equal spec."""
        return self.model_dump(mode="json")

    def differences(self, other: StudySpec) -> list[str]:
        """Return the keys in which `other` differs, each with both values.

        Example:
            >>> data = {"study": {"name": "first", "trials": 4}, "task": {"run": "my_module:task"}}
            >>> more = data | {"study": {"name": "first", "trials": 8}}
            >>> StudySpec.from_dict(data).differences(StudySpec.from_dict(more))
            ['study.trials: 4 → 8']
        """
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

    @property
    def searched_options(self) -> list[str]:
        """The names of the task's options that are searched, such as `task.batch_size`."""
        domains = self._task_domains().items()
        return [name for name, domain in domains if not isinstance(domain, Fixed)]

    def given_schedules(self) -> list[Schedule]:
        """Return the schedules of `[[schedules]]`, which are trained as given, first."""
        return [Schedule.from_dict(schedule) for schedule in self.schedules]

    def build_sampler(
        self, number: int, rungs: Sequence[Rung] = (), earlier: Sequence[FrozenTrial] = ()
    ) -> BaseSampler:
        """Return the sampler of a trial, whose draws depend on the study's seed and its number.

        Args:
            number: the trial's.
            rungs: the runs of a trial.
            earlier: trials of another study that it learns from too.
        """
        given = len(self.schedules)
        rates = 0 if earlier else self.sampler.rates_first  # an earlier study has found the rate
        per_family = self.sampler.per_family
        families = self.search_space().families if per_family else ()
        sampler = SeededSampler(
            sampler_builder(self.sampler.kind, self.sampler.options, self.study.seed),
            seed=self.study.seed,
            number=number,
            family=family_in_turn(families, number - given - rates, per_family, self.study.seed),
            seen=seen_by_samplers(rungs) if self.climbs else None,
            earlier=earlier,
            few=self.sampler.kind in LEARN_FROM_FEW,
        )
        return RatesFirstSampler(sampler, rates, after=given, seed=self.study.seed)

    def build_pruner(self) -> BasePruner:
        """Return the pruner of this study, for Optuna."""
        from optuna.pruners import NopPruner

        match self.pruning:
            case EpochsPruning(pruner=name, options=options):
                return build_pruner(name, options)
            case _:
                return NopPruner()  # where trials climb rungs they wait, and a plan decides

    @property
    def compares_epochs(self) -> bool:
        """Whether trials are compared after each epoch, and not at the end of each run."""
        match self.pruning:
            case EpochsPruning():
                return True
            case NoPruning(horizons=horizons):
                return horizons is None
            case _:
                return False

    def horizons(self, epochs: int, steps_per_epoch: int) -> tuple[int, ...]:
        """Return the epochs of each run of a trial, where the full run has `epochs`.

        Raises:
            SpecError: if the horizons of the study do not fit that run.
        """
        if isinstance(self.pruning, EpochsPruning):
            return (epochs,)
        if self.pruning.horizons is None:
            full = isinstance(self.pruning, NoPruning)
            return (epochs,) if full else with_longer(default_horizons(epochs, steps_per_epoch))
        check_horizons(self.pruning.horizons, epochs, steps_per_epoch)
        return tuple(self.pruning.horizons)

    def rungs(self, horizons: Sequence[int]) -> tuple[Rung, ...]:
        """Return the runs of a trial, on the horizons of the study."""
        return rungs_of(horizons, getattr(self.pruning, "seeds", 1))

    @property
    def climbs(self) -> bool:
        """Whether trials climb rungs, and wait in between."""
        return isinstance(self.pruning, RungsPruning | HorizonsPruning)

    def climb(self, horizons: Sequence[int]) -> Climb | None:
        """Return what decides which trial goes on; `None` where each is trained to its end."""
        if not isinstance(self.pruning, RungsPruning | HorizonsPruning):
            return None
        maximize = self.study.direction == "maximize"
        return Climb(
            self.rungs(horizons),
            self.pruning.reduction_factor,
            maximize=maximize,
            patience=self.study.patience,
            longer=1 if self.pruning.horizons is None and len(horizons) > 2 else None,
        )

    def _task_domains(self) -> dict[str, Domain]:
        domains = {}
        for name, value in self.space.items():
            try:
                if name.startswith("task."):
                    usual = SEARCHED.get(name.removeprefix("task.optimizer."))
                    domains[name] = read_domain(value, usual)
            except DomainError as error:
                raise SpecError(f"space.{name}: {error}") from None
        return domains

    def _choices(self) -> list[str]:
        """Return the searched parameters that are no numbers, by name."""
        space = self.search_space()
        chosen = [families[name] for name in space.families]
        names = ["warmup"] if any(not family.has_own_warmup for family in chosen) else []
        names += [f"{family.name}.{name}" for family in chosen for name in family.parameters()]
        domains = {name: space.domain(name) for name in names} | self._task_domains()
        searched = [
            name for name, d in domains.items() if isinstance(d, Choice) and len(d.choices) > 1
        ]
        return ["schedule", *searched] if len(chosen) > 1 else searched

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
        if self.study.patience and not self.climbs:
            raise SpecError(
                'study.patience needs means over seeds, which pruning.kind = "rungs" gives, but '
                f"that is {self.pruning.kind!r}; change it or leave patience out"
            )
        check_sampler(self.sampler.kind, self._choices(), waits=self.climbs)
        self.build_sampler(number=0)
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
        for key in ("names", "options"):
            if (given := getattr(confirm, key)) and len(given) != count:
                raise SpecError(
                    f"confirm.{key} must have one for each of the {count} [[schedules]]"
                )
        if len(confirm.trials) > count:
            raise SpecError(f"confirm.trials must have at most one for each of {count} schedules")
        if any(schedule.adjusts for schedule in self.given_schedules()):
            raise SpecError(
                "a confirmation trains one curve on all seeds, and a warmup that is adjusted as it "
                "trains has one on each; give what a trial of it came to, or leave adjust out"
            )
        if self.pruning != NoPruning(kind="none"):
            raise SpecError('pruning.kind must be "none" where schedules are confirmed')


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
