"""One flipped byte in every block of every file of a study: noticed, or without effect.

    python -m tests.benchmarks.flips
    python -m tests.benchmarks.flips --sample 150

Two studies of four trials, one that has ended, and one whose worker was killed in the middle of a
run, with all their files: the database and its log, checkpoints, the workers' log, the ticket file,
the lock file, the study file. For each block of each file one byte is changed in a copy. Of the
ended study the copy is then read (status, trials, export); the other is worked on to its end, and
then read. Each command must end with what it gives for the study as it was, or with one line that
says what is wrong; never with other numbers, never with a traceback. A trial in training may fail,
by an error that says so, and another is begun in its place.

The log of a database that was not closed is a special case: SQLite itself drops what follows a
damaged place in it, as after a power cut. So it is only worked on: the end must be the same.

Prints how many were noticed and how many had no effect by kind of file; ends with status 1 if one
was neither.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lrsearch.cli import main as lrsearch
from lrsearch.worker import FAILING
from tests.benchmarks.kills import check, victim
from tests.faulty import (
    Copies,
    End,
    finish,
    in_fork,
    make_study,
    open_again,
    train_in_packs,
    warm_up,
)
from tests.worker.place import outcome

BLOCKS = {"database": 512, "database's log": 512, "checkpoint": 64}
"""Bytes of a block by the kind of file; others are taken byte by byte."""
COMMANDS = (("status", "--json"), ("trials", "--format", "json"), ("export",))


CASES = (("ended", None, True), ("broken-off", True, True), ("unclosed", True, False))
"""Studies, by name: whether their worker was killed, and whether their database was closed."""
LOG = ("database's log", "database's index of the log")


@dataclass(frozen=True)
class Flip:
    """A byte of a file that is changed, by its path in the study's folder."""

    path: str
    place: int
    mask: int

    @property
    def kind(self) -> str:
        return kind_of(self.path)

    def apply(self, folder: Path) -> None:
        file = folder / self.path
        content = bytearray(file.read_bytes())
        content[self.place] ^= self.mask
        file.write_bytes(content)


def kind_of(path: str) -> str:
    """Return what a file is, by its name."""
    ends = {
        ".db": "database",
        ".db-wal": "database's log",
        ".db-shm": "database's index of the log",
        ".pt": "checkpoint",
        ".turns": "ticket file",
        ".log": "worker's log",
        ".toml": "study file",
        ".lock": "lock file",
    }
    return next(kind for end, kind in ends.items() if path.endswith(end))


def flips(folder: Path, chance: random.Random) -> list[Flip]:
    """Return a flip for every block of every file."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        path, size = str(file.relative_to(folder)), file.stat().st_size
        block = BLOCKS.get(kind_of(path), 1 if size < 100 else 32)
        for start in range(0, size, block):
            place = chance.randrange(start, min(start + block, size))
            found.append(Flip(path, place, 1 << chance.randrange(8)))
    return found


def command(*words: str) -> tuple[int, str, str]:
    """Run a command line in this process; return its status and what it said."""
    said, wrong = io.StringIO(), io.StringIO()
    status = 0
    sys.argv = ["lrsearch", *words]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try:
            lrsearch()
        except SystemExit as end:
            status = int(end.code or 0)
    return status, said.getvalue(), wrong.getvalue()


def read(url: str, folder: Path) -> list[tuple[int, str, str]]:
    """Return what the commands that show a study say of it."""
    os.environ["LRSEARCH_STORAGE"] = url
    os.environ["COLUMNS"] = "200"
    os.chdir(folder)
    return [
        tuple(part.replace(url, "URL") if isinstance(part, str) else part for part in result)
        for result in (command(*words) for words in COMMANDS)
    ]


def work_and_read(url: str, folder: Path) -> Any:
    """Work on a study to its end; return what was found, or what the worker said."""
    os.environ["LRSEARCH_STORAGE"] = url
    os.chdir(folder)
    train_in_packs()
    status, _, wrong = command("work", "--device", "cpu")
    if status not in (0, FAILING):
        return [(status, "", wrong)]
    assert "Traceback" not in wrong, wrong
    study = open_again(url)
    if failed := [record.error for record in study.records() if record.error]:
        assert all("damaged" in error for error in failed), failed
        return [(1, "", f"error: {error}") for error in failed]
    check(study)
    return repr(outcome(study))


def make(copies: Copies, *, killed_at: int | None, closed: bool) -> None:
    """Make a study that has ended, or whose worker was killed, its database closed or not."""
    assert not (made := in_fork(partial(_begin, copies))).error, made.error
    if killed_at is None:
        assert not (done := in_fork(partial(finish, copies.url))).error, done.error
    else:
        assert in_fork(partial(victim, copies.url, killed_at)).signal == signal.SIGKILL
    if closed:
        close_database(copies.folder / "original" / "study.db")


def _begin(copies: Copies) -> None:
    study = make_study(copies.url)
    folder = copies.folder / "original"
    (folder / "study.toml").write_text(json.dumps(study.spec.to_dict()))
    logs = study.files / "logs"
    logs.mkdir(parents=True)
    (logs / "worker-1-0.log").write_text("a line that a worker wrote\n" * 20)


def close_database(path: Path) -> None:
    """Have SQLite move all from its log into its file, as who closes it last does."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def third_checkpoint(copies: Copies) -> int:
    """Return the step at which a worker has just written its third checkpoint."""
    make(copies, killed_at=0, closed=False)
    names = in_fork(partial(victim, copies.url, None)).value
    return [place for place, name in enumerate(names) if name == "after rename"][2]


def judge(end: End, undisturbed: Any) -> str:
    """Return "noticed", "no effect", or what is wrong."""
    if end.error or end.signal:
        return end.error or f"ended by signal {end.signal}"
    if end.value == undisturbed:
        return "no effect"
    if not isinstance(end.value, list):
        return "other numbers"
    noticed = False
    for index, (status, said, wrong) in enumerate(end.value):
        if "Traceback" in wrong or "Traceback" in said:
            return f"a traceback: {wrong}"
        if status:
            lines = [line for line in wrong.strip().splitlines() if line.startswith("error: ")]
            if len(lines) != 1:
                return f"not one line: {wrong}"
            noticed = True
        elif isinstance(undisturbed, list) and said != undisturbed[index][1]:
            return f"other numbers from {COMMANDS[index]}: {said}"
    return "noticed" if noticed else f"other words: {end.value}"


def main() -> int:
    """Run, print, and return the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="so many flips of all kinds; left out: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind of file, such as database")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    failures = []
    with TemporaryDirectory(prefix="lrsearch-flips-") as name:
        base = Path(name)
        warm_up(base)
        read(f"sqlite:///{base}/warm.db", base)
        third = third_checkpoint(Copies(base / "first", None))
        todo = []
        for case, killed_at, closed in CASES:
            copies = Copies(base / case, None)
            make(copies, killed_at=killed_at and third, closed=closed)
            after = read if killed_at is None else work_and_read
            with copies.copy() as (url, folder):
                undisturbed = in_fork(partial(after, url, folder))
            assert not undisturbed.error, undisturbed.error
            chosen = flips(copies.folder / "original", random.Random(options.seed))
            if options.only:
                chosen = [flip for flip in chosen if flip.kind == options.only]
            if not closed:
                chosen = [flip for flip in chosen if flip.kind in LOG]
            todo += [(copies, after, undisturbed.value, flip) for flip in chosen]
        if options.sample:
            todo = sampled(todo, options.sample)
        for done, (copies, after, undisturbed_value, flip) in enumerate(todo, 1):
            with copies.copy() as (url, folder):
                flip.apply(folder)
                verdict = judge(in_fork(partial(after, url, folder)), undisturbed_value)
            where = f"{flip.kind}, {'read' if after is read else 'worked on'}"
            if verdict not in ("noticed", "no effect"):
                failures.append(f"{where}, {flip}: {verdict}")
                verdict = "neither"
            counts[where][verdict] += 1
            if done % 100 == 0:
                print(f"{done} of {len(todo)}, {len(failures)} neither", flush=True)
    for where, count in sorted(counts.items()):
        print(f"{where}: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(count.items())))
    print(f"{len(todo)} bytes flipped, {len(failures)} neither noticed nor without effect")
    for failure in failures:
        print(failure)
    return bool(failures)


def sampled(todo: list[Any], count: int) -> list[Any]:
    """Return so many of all kinds of files, most of databases, whose groups are the largest."""
    by_kind: dict[tuple[Any, str], list[Any]] = defaultdict(list)
    for each in todo:
        by_kind[each[1], each[3].kind].append(each)
    chosen: list[Any] = []
    groups = sorted(by_kind.values(), key=len)
    for index, group in enumerate(groups):
        most = len(group) if group[0][3].kind in ("database", "checkpoint") else count // 25
        share = min(most, len(group), (count - len(chosen)) // (len(groups) - index))
        chosen += [group[len(group) * each // share] for each in range(share)]
    return chosen


if __name__ == "__main__":
    sys.exit(main())
