"""Files that commands write: checked before anything begins, never overwritten unasked, named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lrsearch.errors import LrsearchError

ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]
PAGE = (".html", ".png")
"""What a figure may be written as: a page, or a picture of it."""


def check_output(path: Path | None, endings: Sequence[str], *, force: bool) -> None:
    """Refuse a file that cannot or must not be written; `None` is none.

    Raises:
        LrsearchError: for another ending, a folder that is not there, or a file that is.
    """
    if path is None:
        return
    if path.suffix not in endings:
        raise LrsearchError(
            f"{path} must end in {' or '.join(endings)}; it ends in {path.suffix!r}"
        )
    if not path.parent.is_dir():
        raise LrsearchError(f"cannot write {path}: there is no folder {path.parent}; create it")
    if path.exists() and not force:
        raise LrsearchError(f"{path} is there already; --force overwrites it, -o names another")


@contextmanager
def writing(*paths: Path, err: bool = False) -> Iterator[None]:
    """Say at the end what was written, or in one message why it could not be.

    `err` says it where standard output is for programs.
    """
    try:
        yield
    except OSError as error:
        raise LrsearchError(f"cannot write {paths[0]}: {error.strerror}") from None
    typer.echo(f"written: {', '.join(map(str, paths))}", err=err)
