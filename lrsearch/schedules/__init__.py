"""Learning-rate schedules: frozen values, pure functions of the step. No torch here."""

from lrsearch.schedules.constant import Constant
from lrsearch.schedules.cosine import Cosine
from lrsearch.schedules.cosine_restarts import CosineRestarts
from lrsearch.schedules.cyclic import Cyclic
from lrsearch.schedules.exponential import Exponential
from lrsearch.schedules.factor import Factor
from lrsearch.schedules.family import Family, Moment, families
from lrsearch.schedules.linear import Linear
from lrsearch.schedules.multistep import MultiStep
from lrsearch.schedules.noam import Noam
from lrsearch.schedules.one_cycle import OneCycle
from lrsearch.schedules.plateau import Plateau
from lrsearch.schedules.polynomial import Polynomial
from lrsearch.schedules.rex import Rex
from lrsearch.schedules.schedule import Schedule
from lrsearch.schedules.square_root import SquareRoot
from lrsearch.schedules.step import Step
from lrsearch.schedules.warmup import Warmup
from lrsearch.schedules.wsd import WSD

__all__ = [
    "WSD",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "Factor",
    "Family",
    "Linear",
    "Moment",
    "MultiStep",
    "Noam",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Rex",
    "Schedule",
    "SquareRoot",
    "Step",
    "Warmup",
    "families",
]
