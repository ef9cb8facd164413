"""Run a function in many processes at once."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "lrsearch.storage", "lrsearch.study"])


def at_once(count: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what `function(*args)` gives in each of `count` processes that begin together."""
    barrier = _context.Barrier(count)
    with ProcessPoolExecutor(count, _context, _set_barrier, (barrier,)) as pool:
        futures = [pool.submit(_run, function, args) for _ in range(count)]
        return [future.result() for future in futures]


def wait_for_all() -> None:
    """Wait in such a process until all of them have come here."""
    _barrier.wait()


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    wait_for_all()
    return function(*args)
