"""The sections of a study file."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of a study file: frozen, with no key but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StudySection(Section):
    """`[study]`: name, number of trials, what is compared and which way is better."""

    name: str = Field(min_length=1)
    trials: int = Field(ge=1)
    metric: str = Field(default="val_accuracy", min_length=1)
    direction: Literal["maximize", "minimize"] = "maximize"
    seed: int = Field(default=0, ge=0, lt=2**32)


class TaskSection(Section):
    """`[task]`: where the task is (`module:attribute`) and its options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    run: str = Field(pattern=r"^[\w.]+:[\w.]+$")

    @property
    def options(self) -> dict[str, Any]:
        """The task's own options, as they stand in the file."""
        return dict(self.model_extra or {})


class SamplerSection(Section):
    """`[sampler]`: a kind, trials that are due to each family, and options of Optuna's class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: str = "tpe"
    per_family: int = Field(default=2, ge=0)

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


class HorizonsPruning(Section):
    """`[pruning]`, kind "horizons": rungs of whole schedules; if left out, by the run's length."""

    kind: Literal["horizons"] = "horizons"
    horizons: Horizons = None
    reduction_factor: float = Field(default=4, ge=2, allow_inf_nan=False)


class EpochsPruning(Section):
    """`[pruning]`, kind "epochs": one of Optuna's pruners, and the options of its class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: Literal["epochs"]
    pruner: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of Optuna's class that differ from the defaults."""
        return dict(self.model_extra or {})


class NoPruning(Section):
    """`[pruning]`, kind "none": every trial trains the full run, and before it any horizons."""

    kind: Literal["none"]
    horizons: Horizons = None


PRUNING: dict[str, type[BaseModel]] = {
    "horizons": HorizonsPruning,
    "epochs": EpochsPruning,
    "none": NoPruning,
}


class WorkersSection(Section):
    """`[workers]`: seconds until a silent worker is given up, and how much failure ends a study.

    After `lease` seconds without a sign of life a worker's trials are taken over. The study stops
    after `max_failures` failed trials in a row. A worker that crashes before it has trained an
    epoch is started again at most `max_restarts` times.
    """

    lease: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    max_failures: int = Field(default=3, ge=1)
    max_restarts: int = Field(default=3, ge=0)


class ConfirmSection(Section):
    """`[confirm]`: every schedule of the study is trained on each seed, and tested once.

    `of` is the study whose winner is to be confirmed. For each schedule, `names` has what it is
    called, `trials` its number there, and `options` the values of searched options of the task.
    """

    seeds: list[int] = Field(min_length=2)
    of: str | None = None
    names: list[str] = []
    trials: list[int] = []
    options: list[dict[str, Any]] = []
