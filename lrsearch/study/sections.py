"""The sections of a study file."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lrsearch.errors import SpecError


class Section(BaseModel):
    """A part of a study file: frozen, with no key but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_seconds(time: Any) -> Any:
    """Return a time such as "90s", "2h" or "1h30m" in seconds; anything else as it is.

    Raises:
        SpecError: for a text that is no time.

    Example:
        >>> read_seconds("1h30m")
        5400.0
    """
    if not isinstance(time, str):
        return time
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", time):
        raise SpecError(f'a time is such as "90s", "45m", "2h" or "1h30m", but got {time!r}')
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)([smhd])", time))


Seconds = Annotated[float, BeforeValidator(read_seconds), Field(gt=0, allow_inf_nan=False)]
"""A time in seconds, which a study file may write with units."""


_MINIMIZED = ("loss", "error", "perplexity", "mse", "mae")


def usual_direction(metric: str) -> Literal["maximize", "minimize"]:
    """Return which way is better for a metric, by the end of its name.

    Example:
        >>> usual_direction("val_loss"), usual_direction("val_rmse"), usual_direction("val_f1")
        ('minimize', 'minimize', 'maximize')
    """
    return "minimize" if metric.lower().endswith(_MINIMIZED) else "maximize"


class StudySection(Section):
    """`[study]`: name, budgets, what is compared and which way is better.

    The search ends with the first budget that is used up: `trials` that begin, `epochs` of training
    in all (no run begins that does not fit), `time` from the first trial on; or when the best mean
    has not risen by more than seeds explain while `patience` trials began. What is left in the
    end of `epochs` or `time` goes to the best trials, on further seeds.

    Without a `direction`, a metric whose name ends as a loss or an error does is minimized, any
    other maximized.
    """

    name: str = Field(min_length=1)
    trials: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    time: Seconds | None = None
    patience: int | None = Field(default=None, ge=1)
    metric: str = Field(default="val_accuracy", min_length=1)
    direction: Literal["maximize", "minimize"] = Field(
        default_factory=lambda data: usual_direction(data.get("metric", ""))
    )
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
    """`[sampler]`: a kind, what the first trials are due to, and options of Optuna's class.

    Of the first trials `rates_first` look for the rate under a plain schedule, unless the study
    learns from an earlier one; then each family gets `per_family` in turn.

    Kinds are "tpe", "random", "gp", and for spaces of numbers alone whose trials do not wait
    (`pruning.kind` "none" or "epochs") "cmaes" and "qmc"; "optunahub:PACKAGE:CLASS" loads another.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    kind: str = "tpe"
    rates_first: int = Field(default=0, ge=0)
    per_family: int = Field(default=0, ge=0)

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
    """`[pruning]`, kind "horizons": rungs with one seed."""

    kind: Literal["horizons"]
    horizons: Horizons = None
    reduction_factor: float = Field(default=4, ge=2, allow_inf_nan=False)


class RungsPruning(Section):
    """`[pruning]`, kind "rungs": whole schedules on short horizons, then in full, then on seeds.

    `horizons` are chosen by the run's length if left out. `seeds` is on how many seeds the best is
    trained in full at most; before each of them but the first come two more, whose runs stop as
    soon as they are seen not to collapse.
    """

    kind: Literal["rungs"] = "rungs"
    horizons: Horizons = None
    seeds: int = Field(default=10, ge=1)
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
    "rungs": RungsPruning,
    "horizons": HorizonsPruning,
    "epochs": EpochsPruning,
    "none": NoPruning,
}


class WorkersSection(Section):
    """`[workers]`: seconds until a silent worker is given up, and how much failure ends a study.

    After `lease` seconds (5 and more in a new study) without a sign of life a worker's trials are
    taken over; at once where its process was on the same machine and has died. The study stops
    after `max_failures` failed trials in a row. A worker that crashes before it has trained an
    epoch is started again at most `max_restarts` times. One whose epoch takes longer than
    `epoch_limit` has crashed; a trial with which three workers in a row crash, none of them after a
    new epoch, has failed. `callbacks` name (`module:factory`) what
    each worker tells of every epoch and trial, such as `lrsearch.tracking:tensorboard`.
    """

    lease: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    epoch_limit: Seconds | None = None
    max_failures: int = Field(default=3, ge=1)
    max_restarts: int = Field(default=3, ge=0)
    callbacks: list[Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]] = []


class ConfirmSection(Section):
    """`[confirm]`: every schedule of the study is trained on each seed, and tested once.

    `of` is the study whose winner is to be confirmed. For each schedule, `names` has what it is
    called, `trials` its number there (schedules after the last of them are no trials of it), and
    `options` the values of searched options of the task.
    """

    seeds: list[int] = Field(min_length=2)
    of: str | None = None
    names: list[str] = []
    trials: list[int] = []
    options: list[dict[str, Any]] = []
