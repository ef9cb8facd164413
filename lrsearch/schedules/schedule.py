"""A schedule: a family × `base_lr` × an optional warmup."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrsearch import displays
from lrsearch.errors import ScheduleError, nearest
from lrsearch.schedules.drawing import Line, plot
from lrsearch.schedules.family import Family, Position, family_named
from lrsearch.schedules.warmup import Warmup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch.optim import Optimizer

    from lrsearch.schedules.torch import ScheduleLR


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule: a frozen value, a pure function of the step.

    Updates are t = 0 … T − 1 of T. During a warmup of W = fraction · T updates, update t has the
    warmup's multiple at (t + 1) / W, so that no update is wasted at a rate of zero; after it the
    family sees x = (t − W) / (T − W). Past the end the last value holds. All durations are
    fractions of the run, so a schedule fits any T. T counts every update, those of a prepended
    warmup as well: `run_length` says how long a run with it is.

    Args:
        family: the family with its parameters.
        base_lr: the upper bound of the learning rate, positive.
        warmup: before the family; not for families that bring their own rise.

    Raises:
        ScheduleError: if a value breaks its rule.

    Example:
        >>> from lrsearch.schedules import Linear, Schedule, Warmup
        >>> schedule = Schedule(Linear(), base_lr=0.1, warmup=Warmup("linear", fraction=0.2))
        >>> schedule.lr(step=0, total_steps=1000)
        0.0005
        >>> schedule.curve(10).round(4).tolist()
        [0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125]
    """

    family: Family
    base_lr: float
    warmup: Warmup | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.family, Family):
            raise ScheduleError(
                "a schedule's family must be one of `families` with its parameters, "
                f"but got {self.family!r}"
            )
        number = isinstance(self.base_lr, int | float) and not isinstance(self.base_lr, bool)
        if not (number and 0 < self.base_lr <= sys.float_info.max):
            raise ScheduleError(f"base_lr must be positive and finite, but got {self.base_lr!r}")
        if not isinstance(self.warmup, Warmup | None):
            raise ScheduleError(f"a schedule's warmup must be a Warmup, but got {self.warmup!r}")
        if self.warmup and self.family.has_own_warmup:
            raise ScheduleError(
                f"{self.family.name} brings its own rise and takes no warmup; set it to null"
            )

    def lr(self, step: int, total_steps: int, losses: Sequence[float] = ()) -> float:
        """Return the learning rate of one update.

        Args:
            step: the update, from 0; past the end the last value holds.
            total_steps: the length of the run in updates, at least 1.
            losses: validation losses of the evaluations so far; only `plateau` reads them.

        Example:
            >>> from lrsearch.schedules import Linear, Schedule
            >>> Schedule(Linear(), base_lr=0.4).lr(step=50, total_steps=100)
            0.2
        """
        step = in_run(step, total_steps)
        rise = self.warmup.length(total_steps) if self.warmup else 0.0
        if self.warmup and step < rise - 1e-9:
            return self.base_lr * self.warmup.at(step, total_steps)
        x = max(0.0, (step - rise) / (total_steps - rise))
        return self.base_lr * self.family(Position(x, step, total_steps, losses))

    def momentum(self, step: int, total_steps: int) -> float | None:
        """Return the momentum of one update; `None` where the schedule leaves it alone.

        Example:
            >>> from lrsearch.schedules import OneCycle, Schedule
            >>> Schedule(OneCycle(), base_lr=0.1).momentum(step=0, total_steps=100)
            0.95
        """
        step = in_run(step, total_steps)
        return self.family.momentum(Position(step / total_steps, step, total_steps, ()))

    def run_length(self, total_steps: int) -> int:
        """Return how many updates a run of `total_steps` has with what is prepended to it.

        Example:
            >>> from lrsearch.schedules import Linear, Schedule, Warmup
            >>> warmup = Warmup("linear", fraction=0.1, prepend=True)
            >>> Schedule(Linear(), base_lr=0.1, warmup=warmup).run_length(10_000)
            11000
        """
        if self.warmup is None or not self.warmup.prepend:
            return total_steps
        return total_steps + math.ceil(self.warmup.fraction * total_steps - 1e-9)

    @property
    def adjusts(self) -> bool:
        """Whether its warmup is lengthened as it trains, so that its curve is yet to come."""
        return self.warmup is not None and self.warmup.adjust

    def check_settled(self) -> None:
        """Refuse a schedule whose curve is yet to come.

        Raises:
            ScheduleError: if its warmup is adjusted as it trains.
        """
        if self.adjusts:
            raise ScheduleError(
                "the warmup is adjusted as it trains, so the schedule has no curve before; take "
                "that of a trial whose warmup is over, or leave warmup.adjust out"
            )

    def curve(self, total_steps: int, losses: Sequence[float] = ()) -> NDArray[np.float64]:
        """Return the learning rate of every update, float64[total_steps].

        `losses` are those of evaluations spread evenly over the run, after a prepended warmup
        (`plateau` alone reads them).
        """
        in_run(0, total_steps)
        prepended = self.warmup.length(total_steps) if self.warmup and self.warmup.prepend else 0
        lead = math.ceil(prepended - 1e-9)
        main = max(1, total_steps - lead)
        seen = [max(0, t - lead) * len(losses) // main for t in range(total_steps)]
        return np.array(
            [self.lr(step, total_steps, losses[: seen[step]]) for step in range(total_steps)],
            dtype=np.float64,
        )

    def plot(self, total_steps: int = 1000, epochs: int | None = None) -> Figure:
        """Return a Plotly figure of its curve, and of its momentum where it moves that.

        Args:
            total_steps: the length of the run in updates.
            epochs: if given, of how many epochs the run is, which the axis then counts.

        Example:
            >>> from lrsearch.schedules import OneCycle, Schedule
            >>> drawn = Schedule(OneCycle(), base_lr=0.1).plot(total_steps=300, epochs=3)
            >>> [axis.title.text for axis in (drawn.layout.yaxis, drawn.layout.yaxis2)]
            ['learning rate', 'momentum']
        """
        steps = range(total_steps)
        line = Line(
            np.arange(total_steps, dtype=np.float64) * ((epochs or total_steps) / total_steps),
            self.curve(total_steps),
            np.array([self.momentum(step, total_steps) for step in steps], dtype=np.float64),
        )
        return plot({self.family.name: line}, by="updates" if epochs is None else "epochs")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; `from_dict` gives back an equal schedule.

        Example:
            >>> from lrsearch.schedules import Schedule, Step
            >>> data = Schedule(Step(drop_factor=0.5, step_size=0.25), base_lr=0.1).to_dict()
            >>> data["schedule"], data["base_lr"], data["params"]
            ('step', 0.1, {'drop_factor': 0.5, 'step_size': 0.25})
        """
        params = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.family).items()  # type: ignore[call-overload]
        }
        return {
            "schedule": self.family.name,
            "base_lr": self.base_lr,
            "warmup": self.warmup.to_dict() if self.warmup else None,
            "params": params,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Schedule:
        """Read the JSON form; `warmup` and `params` may be left out.

        Raises:
            ScheduleError: for an unknown or missing key, a wrong type or a broken rule.

        Example:
            >>> from lrsearch.schedules import Schedule
            >>> schedule = Schedule.from_dict({"schedule": "cosine", "base_lr": 0.1})
            >>> schedule.family
            Cosine(min_factor=0.0)
            >>> Schedule.from_dict(schedule.to_dict()) == schedule
            True
        """
        _check_keys("a schedule", data, {"schedule", "base_lr", "warmup", "params"})
        for key in ("schedule", "base_lr"):
            if key not in data:
                raise ScheduleError(f"a schedule needs the key {key!r}, but has {sorted(data)}")
        family = family_named(data["schedule"])
        params = data.get("params", {})
        _check_keys(f"{family.name}.params", params, set(family.parameters()))
        warmup = data.get("warmup")
        if warmup is not None:
            _check_keys("a warmup", warmup, {field.name for field in fields(Warmup)})
            if missing := {"shape", "fraction"} - set(warmup):
                raise ScheduleError(f"a warmup needs {sorted(missing)}, but has {sorted(warmup)}")
            warmup = Warmup(**warmup)
        return cls(family(**params), data["base_lr"], warmup)

    def _repr_html_(self) -> str:
        data = self.to_dict()
        warmup = {f"warmup {name}": value for name, value in (data["warmup"] or {}).items()}
        values = {"schedule": data["schedule"], "base_lr": self.base_lr, **warmup, **data["params"]}
        shown = [(name, format_value(value)) for name, value in values.items()]
        picture = displays.curve(self.curve(200).tolist(), f"the curve of {self.family.name}")
        return picture + displays.table(("parameter", "value"), shown)

    def torch(self, optimizer: Optimizer, total_steps: int) -> ScheduleLR:
        """Return a torch `LRScheduler` that follows this schedule and resumes exactly.

        Call its `step()` after every update; for `plateau` call `step(loss)` after an update that
        was followed by an evaluation. See `lrsearch.schedules.torch.ScheduleLR`.

        Raises:
            ScheduleError: if its warmup is yet to be adjusted, which a trial does as it trains.

        Example:
            >>> import torch
            >>> from lrsearch.schedules import Linear, Schedule
            >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            >>> scheduler = Schedule(Linear(), base_lr=0.1).torch(optimizer, total_steps=4)
            >>> rates = []
            >>> for _ in range(4):
            ...     rates += scheduler.get_last_lr()
            ...     optimizer.step()
            ...     scheduler.step()
            >>> [round(rate, 3) for rate in rates]
            [0.1, 0.075, 0.05, 0.025]
        """
        from lrsearch.schedules.torch import ScheduleLR

        self.check_settled()
        return ScheduleLR(optimizer, self, total_steps)


def in_run(step: int, total_steps: int) -> int:
    """Return the update that `step` means: itself, or past the end the last."""
    if total_steps < 1 or step < 0:
        raise ScheduleError(
            f"total_steps must be at least 1 and step at least 0, but got {total_steps=}, {step=}"
        )
    return min(step, total_steps - 1)


def format_value(value: Any) -> str:
    """Return a parameter's value for people to read: floats with four digits.

    Example:
        >>> format_value((0.5, 1 / 3)), format_value("cos")
        ('0.5, 0.3333', 'cos')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_keys(what: str, data: Any, known: set[str]) -> None:
    if not isinstance(data, dict):
        raise ScheduleError(f"{what} must be a table, but got {data!r}")
    for key in data:
        if key not in known:
            raise ScheduleError(f"{what} has no key {key!r}; {nearest(str(key), known)}")
