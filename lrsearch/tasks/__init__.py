"""What is trained: the `Task` protocol, our training loop, FashionMNIST. torch loads on demand."""

from typing import TYPE_CHECKING, Any

from lrsearch.tasks.task import Progress, Task, load_task

if TYPE_CHECKING:
    from lrsearch.tasks.supervised import Supervised
    from lrsearch.tasks.training import Data

__all__ = ["Data", "Progress", "Supervised", "Task", "load_task"]


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are asked for."""
    if name in ("Data", "Supervised"):
        from lrsearch.tasks import supervised

        return getattr(supervised, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
