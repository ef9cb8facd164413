"""Which learning-rate schedule, with which parameters? A search over schedules with Optuna.

Example:
    A search from Python, with one worker in this process:

        import lrsearch
        from lrsearch.integrations import function_task

        search = lrsearch.optimize(function_task(train, epochs=10, steps_per_epoch=100), trials=30)
        search.schedule  # the best `Schedule`
        search.optuna  # an ordinary Optuna study
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsearch.api import Search, optimize
    from lrsearch.errors import LrsearchError
    from lrsearch.export import load_schedule
    from lrsearch.schedules import Schedule, Warmup, families
    from lrsearch.search import RatesFirstSampler, SearchSpace, suggest_schedule
    from lrsearch.storage import open_storage
    from lrsearch.study import StudySpec, create_study, open_study
    from lrsearch.tasks import Progress, Task

_HOMES = {
    "LrsearchError": "errors",
    "Progress": "tasks",
    "RatesFirstSampler": "search",
    "Schedule": "schedules",
    "Search": "api",
    "SearchSpace": "search",
    "StudySpec": "study",
    "Task": "tasks",
    "Warmup": "schedules",
    "create_study": "study",
    "families": "schedules",
    "load_schedule": "export",
    "open_storage": "storage",
    "open_study": "study",
    "optimize": "api",
    "suggest_schedule": "search",
}

__all__ = [
    "LrsearchError",
    "Progress",
    "RatesFirstSampler",
    "Schedule",
    "Search",
    "SearchSpace",
    "StudySpec",
    "Task",
    "Warmup",
    "create_study",
    "families",
    "load_schedule",
    "open_storage",
    "open_study",
    "optimize",
    "suggest_schedule",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: Optuna and SQLAlchemy take their time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lrsearch.{_HOMES[name]}"), name)
