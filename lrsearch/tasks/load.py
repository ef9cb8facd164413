"""A name or an object, and options → a task."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lrsearch.errors import TaskError, nearest
from lrsearch.tasks.task import Task

_PYTHON = sys.stdlib_module_names - {"__main__"} | {"posix", "nt"}


def load_attribute(path: str) -> Any:
    """Import what `module:attribute` names, the working directory included.

    Raises:
        TaskError: if the module or the attribute cannot be had.
    """
    module_name, _, attribute = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise TaskError(
            f"cannot import {module_name!r} for {path!r}: {error}; "
            "run from its folder, or add that to PYTHONPATH"
        ) from error
    try:
        for name in attribute.split("."):
            loaded = getattr(loaded, name)
    except AttributeError:
        raise TaskError(f"{path!r}: module {module_name!r} has no {attribute!r}") from None
    return loaded


IN_PROCESS = "in_process"
"""In a study's `task.run`, before its type's name: a task that only its own Python session has."""


def check_importable(path: str) -> None:
    """Refuse a task that lives in another Python session, where no worker can import it.

    Raises:
        TaskError: if it does.
    """
    module, _, name = path.partition(":")
    if module == IN_PROCESS:
        raise TaskError(
            f"the study's task, a {name}, lives in the Python session that made it, so only "
            "lrsearch.optimize(task, name=…) can train it there; for workers of their own put it "
            "into a module and name that in a study file"
        )


def load_task(path: str, options: Mapping[str, Any]) -> Task:
    """Return the task that `module:attribute` names, with `options` applied.

    The attribute is a task (of a dataclass such as `Supervised`, options replace fields) or a
    callable that makes one of the options.

    Raises:
        TaskError: if it cannot be imported, is no task or does not take an option.
    """
    check_importable(path)
    return with_options(load_attribute(path), options, path)


def _check_own(named: Any, path: str) -> None:
    """Refuse what comes with Python: a stored study may name `os:system` as its task.

    Raises:
        TaskError: if it does.
    """
    home = getattr(named, "__module__", None) or ""  # a number has none
    for module in (path.partition(":")[0], home):
        if module.partition(".")[0] in _PYTHON:
            raise TaskError(f"{path!r} is no task: it comes with Python, from {module!r}")


def with_options(named: Any, options: Mapping[str, Any], path: str) -> Task:
    """Return a task, or what makes one, with `options` applied; see `load_task`.

    Args:
        named: the task or what makes it.
        options: by name.
        path: what messages call it.

    Raises:
        TaskError: if it is no task or does not take an option.
    """
    _check_own(named, path)
    known: set[str] | None
    if isinstance(named, Task) and not isinstance(named, type):
        make = partial(dataclasses.replace, named) if dataclasses.is_dataclass(named) else None
        known = {f.name for f in dataclasses.fields(named) if f.init} if make else set()
        make = make if options else None
    elif callable(named):
        make, known = named, _arguments(named)
    else:
        raise TaskError(f"{path!r} is no task and makes none: it is a {type(named).__name__}")
    for key in options:
        if known is not None and key not in known:
            raise TaskError(f"task.{key} is no option of {path!r}; {nearest(key, known)}")
    try:
        task = make(**options) if make else named
    except (TypeError, ValueError) as error:
        raise TaskError(f"{path!r} refuses the options {dict(options)}: {error}") from error
    if not isinstance(task, Task):
        missing = [name for name in ("epochs", "steps_per_epoch", "run") if not hasattr(task, name)]
        raise TaskError(f"{path!r} is no task: a {type(task).__name__} has no {', '.join(missing)}")
    return task


def _arguments(make: Callable[..., Any]) -> set[str] | None:
    """Return the names of the arguments that `make` takes; `None` if it takes any (`**options`)."""
    parameters = inspect.signature(make).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return None if takes_any else set(parameters)
