"""What is trained: the `Task` protocol, our training loop, FashionMNIST. torch loads on demand."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lrsearch.tasks.adam import SEARCHED, WORTH_FROM, with_betas
from lrsearch.tasks.devices import Slot, devices_of, out_of_memory, prepare_torch, slots
from lrsearch.tasks.learning import JUMP, WELL, has_fallen, is_near, rises
from lrsearch.tasks.load import (
    IN_PROCESS,
    check_importable,
    load_attribute,
    load_task,
    with_options,
)
from lrsearch.tasks.task import (
    Progress,
    Task,
    can_adjust,
    can_prepend,
    check_devices,
    check_protocol,
    clock_of,
    first_progress,
    run_task,
)

if TYPE_CHECKING:
    from lrsearch.tasks.loop import as_input
    from lrsearch.tasks.supervised import Supervised, require_supervised
    from lrsearch.tasks.training import Data, Training


_NEED_TORCH = {
    "Data": "training",
    "as_input": "loop",
    "Supervised": "supervised",
    "Training": "training",
    "require_supervised": "supervised",
}


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are asked for."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lrsearch.tasks.{_NEED_TORCH[name]}"), name)
