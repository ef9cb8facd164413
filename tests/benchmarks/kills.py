"""A worker that is killed before and after every step that it makes on a disk or in a database.

    python -m tests.benchmarks.kills
    python -m tests.benchmarks.kills --only sqlite --sample 60

A study of four trials, three of which train together, climbs two horizons and further seeds. Its
first worker was killed in the middle of a run. The next one takes its trials over, and is killed
(SIGKILL) at one step: before or after each statement that writes, each commit, each write, flush,
rename and removal of a file, each report, claim and end of a trial, and half way through a file.
Then a fresh worker finishes. That happens once for each step, each time from a copy of the study.

Nothing may be lost or be there twice, and every epoch's numbers are those of runs that nothing
disturbs, to the last bit. The task trains in no time; what keeps it is real. Prints how many steps
were tried by kind; ends with status 1 if one was not survived.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from sqlalchemy import Engine, event, select
from sqlalchemy.engine.default import DefaultDialect

from lrsearch.storage import NoTrialReason, Storage, TrialQueue, read_metrics, read_run_ends
from lrsearch.storage import tables as ours
from lrsearch.storage.ticket_lock import TicketLock
from lrsearch.study import Study
from lrsearch.worker import recorder
from tests.faulty import TRIALS, Copies, finish, in_fork, make_study, open_again, warm_up
from tests.servers import postgres
from tests.worker.place import check_curves, outcome


class Steps:
    """The steps of this process, in order; it is killed at one of them, if that is given."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.names: list[str] = []

    def at(self, name: str) -> None:
        """Come to a step."""
        if threading.current_thread() is not threading.main_thread():
            return  # a heartbeat beats by the clock
        if len(self.names) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def watch(self) -> None:
        """Have every step of this process counted from now on."""
        event.listen(Engine, "before_cursor_execute", partial(self._statement, "before"))
        event.listen(Engine, "after_cursor_execute", partial(self._statement, "after"))
        self._around(DefaultDialect, "do_commit", "commit")
        self._around(TicketLock, "_write", "ticket")
        self._around(os, "fsync", "flush")
        self._around(Path, "replace", "rename")
        self._around(Path, "unlink", "remove")
        self._around(Storage, "set_trial_intermediate_value", "report")
        self._around(optuna.Study, "tell", "tell")
        self._around(recorder, "record_metrics", "record")
        for name in ("claim", "pause", "end"):
            self._around(TrialQueue, name, name)
        real = Path.open

        def opened(path: Path, *args: Any, **kwargs: Any) -> Any:
            file = real(path, *args, **kwargs)
            return _Watched(file, self) if path.suffix == ".part" else file

        Path.open = opened  # type: ignore[method-assign, assignment]

    def _statement(self, when: str, *args: Any) -> None:
        words = args[2].split()
        if words[0] in ("INSERT", "UPDATE", "DELETE"):
            table = words[2 if words[0] != "UPDATE" else 1]
            self.at(f"{when} {words[0].lower()} {table}")

    def _around(self, owner: Any, name: str, shown: str) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.at(f"before {shown}")
            result = real(*args, **kwargs)
            self.at(f"after {shown}")
            return result

        setattr(owner, name, watched)


class _Watched:
    """A file whose writes are steps, and can end half way."""

    def __init__(self, file: Any, steps: Steps) -> None:
        self._file = file
        self._steps = steps

    def write(self, content: Any) -> None:
        half = len(content) // 2
        self._steps.at("before write")
        self._file.write(bytes(content[:half]))
        self._file.flush()
        self._steps.at("within write")
        self._file.write(bytes(content[half:]))
        self._steps.at("after write")

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def victim(url: str, last: int | None) -> list[str]:
    """Work to the end and return the steps; killed at the last, if that is given."""
    steps = Steps(last)
    steps.watch()
    assert finish(url) is NoTrialReason.DONE
    return steps.names


def survivor(url: str) -> list[tuple[Any, ...]]:
    """Finish what a killed worker has left, check all, and return what was found."""
    assert finish(url) is NoTrialReason.DONE
    study = open_again(url)
    check(study)
    return outcome(study)


def check(study: Study) -> None:
    """Check that nothing is lost, nothing there twice, and every number as it should be.

    Raises:
        AssertionError: if not.
    """
    records = study.records(epochs=True)
    assert [record.number for record in records] == list(range(TRIALS))
    assert all(record.finished for record in records)
    for record in records:
        assert record.complete == bool(record.full_values)
        assert record.final_value == record.mean
    with study.storage.reading() as connection:
        leases = connection.execute(select(ours.leases)).all()
        trained = sum(connection.execute(select(ours.workers.c.epochs)).scalars())
    assert all(lease.ended is not None for lease in leases)
    ended = [(lease.trial_id, lease.rung) for lease in leases if lease.expires > 0]
    assert len(ended) == len(set(ended)), "a rung was trained twice"
    rows = read_metrics(study.storage, study.study_id)
    assert trained == len(rows), "an epoch counts twice, or not at all"
    for end in read_run_ends(study.storage, study.study_id):
        stopped = end.run in records[end.trial].stopped
        rung = study.rungs[end.run]
        least = rung.expected_epochs if stopped else rung.epochs
        assert least <= end.epochs <= rung.epochs, "epochs are missing"
    full = sum(bool(record.full_values) for record in records)
    best = study.best()
    assert len(best.full_values) + len(best.stopped) == study.climb.seeds_due(full) > 1
    assert study.best().number == study.optuna.best_trial.number
    check_curves(study)
    left = study.files / "checkpoints"
    assert not left.exists() or not list(left.iterdir()), "checkpoints are left behind"


def prepare(copies: Copies) -> list[tuple[Any, ...]]:
    """Make the study and kill its first worker half way; return what an undisturbed one finds."""

    def make() -> None:
        make_study(copies.url)

    assert not (made := in_fork(make)).error, made.error
    with copies.copy() as (url, _):
        undisturbed = in_fork(partial(survivor, url))
    assert not undisturbed.error, undisturbed.error
    with copies.copy() as (url, _):
        names = in_fork(partial(victim, url, None)).value
    third = [place for place, name in enumerate(names) if name == "after rename"][2]
    assert in_fork(partial(victim, copies.url, third)).signal == signal.SIGKILL
    found = undisturbed.value
    assert isinstance(found, list)
    return found


def sampled(names: list[str], count: int) -> list[int]:
    """Return so many steps: of as many kinds as may be, the rarest first, and others evenly."""
    by_kind: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        by_kind[name].append(place)
    rarest = sorted(by_kind.values(), key=len)[:count]
    chosen = {places[len(places) // 2] for places in rarest}
    rest = [place for place in range(len(names)) if place not in chosen]
    more = count - len(chosen)
    return sorted(chosen | {rest[len(rest) * each // more] for each in range(more)})


def run(engine: str, copies: Copies, sample: int | None, show: Callable[[str], None]) -> list[str]:
    """Kill a worker at each step, or at a sample; return what was not survived."""
    undisturbed = prepare(copies)
    with copies.copy() as (url, _):
        names = in_fork(partial(victim, url, None)).value
    places = sampled(names, sample) if sample else list(range(len(names)))
    failures, same = [], 0
    for done, place in enumerate(places, 1):
        step = f"{engine}, step {place}, {names[place]}"
        with copies.copy() as (url, _):
            killed = in_fork(partial(victim, url, place))
            after = in_fork(partial(survivor, url))
        if killed.signal != signal.SIGKILL:
            failures.append(f"{step}: never came to it\n{killed.error}")
        elif after.error:
            failures.append(f"{step}: {after.error}")
        same += after.value == undisturbed
        if done % 50 == 0:
            show(f"{engine}: {done} of {len(places)} steps, {len(failures)} not survived")
    kinds = Counter(names[place].split()[1] for place in places)
    show(f"{engine}: killed at {len(places)} of {len(names)} steps, {len(failures)} not survived")
    show(f"  the same study to the last bit, also in what was promoted: {same}")
    show("  " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    return failures


@contextmanager
def places(only: str | None, server: str | None) -> Iterator[Iterator[tuple[str, Copies]]]:
    """Yield each kind of storage with a place for it."""
    with TemporaryDirectory(prefix="lrsearch-kills-") as folder, ExitStack() as stack:
        warm_up(Path(folder))

        def each() -> Iterator[tuple[str, Copies]]:
            if only in (None, "sqlite"):
                yield "sqlite", Copies(Path(folder) / "sqlite", None)
            if only in (None, "postgresql"):
                url = server or stack.enter_context(postgres()).get_uri(driver="psycopg")
                yield "postgresql", Copies(Path(folder) / "postgresql", url)

        yield each()


def main() -> int:
    """Run, print, and return the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--server", help="URL of a PostgreSQL server; left out: one of our own")
    parser.add_argument("--sample", type=int, help="so many steps; left out: all")
    options = parser.parse_args()
    failures = []
    with places(options.only, options.server) as found:
        for engine, copies in found:
            failures += run(engine, copies, options.sample, lambda line: print(line, flush=True))
            copies.close()
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
