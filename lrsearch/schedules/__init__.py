"""Learning-rate schedules: frozen values, pure functions of the step. torch loads on demand."""

from typing import TYPE_CHECKING, Any

from lrsearch.schedules.clock import Clock, LrEvery
from lrsearch.schedules.constant import Constant
from lrsearch.schedules.cosine import Cosine
from lrsearch.schedules.cosine_restarts import CosineRestarts
from lrsearch.schedules.cyclic import Cyclic
from lrsearch.schedules.domains import (
    Choice,
    Domain,
    Fixed,
    Float,
    Increasing,
    Int,
    Scalar,
    Suggester,
    read_domain,
)
from lrsearch.schedules.drawing import Line, Unit, plot
from lrsearch.schedules.duplicates import is_degenerate, same_curve
from lrsearch.schedules.exponential import Exponential
from lrsearch.schedules.factor import Factor
from lrsearch.schedules.family import Family, Parameter, Position, completed, families, family_named
from lrsearch.schedules.linear import Linear
from lrsearch.schedules.multistep import MultiStep
from lrsearch.schedules.noam import Noam
from lrsearch.schedules.one_cycle import OneCycle
from lrsearch.schedules.plateau import Plateau
from lrsearch.schedules.polynomial import Polynomial
from lrsearch.schedules.rex import Rex
from lrsearch.schedules.schedule import Schedule, format_value, in_run
from lrsearch.schedules.sketch import sketched
from lrsearch.schedules.square_root import SquareRoot
from lrsearch.schedules.step import Step
from lrsearch.schedules.warmup import SHAPES, Warmup
from lrsearch.schedules.wsd import WSD

if TYPE_CHECKING:
    from lrsearch.schedules.torch import ScheduleLR


def __getattr__(name: str) -> Any:
    """Import torch's scheduler when it is asked for."""
    if name == "ScheduleLR":
        from lrsearch.schedules.torch import ScheduleLR

        return ScheduleLR
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
