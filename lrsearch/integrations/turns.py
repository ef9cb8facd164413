"""A training loop that calls back, turned into a generator that yields."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue

from lrsearch.tasks import Progress


class Closed(BaseException):
    """Nobody wants the run any more; no library's `except Exception` keeps it from ending."""


class Turn:
    """The training loop's side: it hands over each epoch, and waits until it may go on."""

    def __init__(self) -> None:
        self.shown: SimpleQueue[Progress | BaseException | None] = SimpleQueue()
        self.wanted: SimpleQueue[bool] = SimpleQueue()
        self.closed = False

    def show(self, progress: Progress) -> None:
        """Hand over an epoch.

        Raises:
            Closed: if that was the last one wanted.
        """
        self.shown.put(progress)
        if not self.wanted.get():
            raise Closed

    def check(self) -> None:
        """Leave between two epochs.

        Raises:
            Closed: if the run is not wanted any more.
        """
        if self.closed:
            raise Closed


def in_turns(train: Callable[[Turn], None]) -> Generator[Progress]:
    """Run `train` in a thread, and yield each epoch that it shows; while one goes, the other waits.

    What it raises is raised here. Closing the generator ends it, at its next `check` or `show`.
    """
    turn = Turn()

    def run() -> None:
        try:
            train(turn)
            turn.shown.put(None)
        except Closed:
            pass
        except BaseException as error:
            turn.shown.put(error)

    thread = threading.Thread(target=run, name="training", daemon=True)
    thread.start()
    try:
        while (shown := turn.shown.get()) is not None:
            if isinstance(shown, BaseException):
                raise shown
            yield shown
            turn.wanted.put(True)
    finally:
        turn.closed = True
        turn.wanted.put(False)
        thread.join()
