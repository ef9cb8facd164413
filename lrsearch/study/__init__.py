"""A study: made once, opened by its name; all that it needs is stored in it."""

from lrsearch.study.create import check_task, create_study
from lrsearch.study.opening import confirmation_name, open_study
from lrsearch.study.study import (
    DATA,
    HORIZONS,
    SPEC,
    UNSTABLE_JUMP,
    Study,
    recovered,
    schedule_of,
    value_of,
)

__all__ = [
    "DATA",
    "HORIZONS",
    "SPEC",
    "UNSTABLE_JUMP",
    "Study",
    "check_task",
    "confirmation_name",
    "create_study",
    "open_study",
    "recovered",
    "schedule_of",
    "value_of",
]
