"""What several commands share: options, and opening the study they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.errors import LrsearchError

if TYPE_CHECKING:
    from lrsearch.study import Study

StorageOption = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="LRSEARCH_STORAGE",
        metavar="URL",
        show_envvar=True,
        help="sqlite:///FILE, or postgresql+psycopg://USER@HOST/DATABASE for several machines. "
        "Keep a password out of it: use PGPASSWORD or ~/.pgpass, or this variable.",
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", metavar="NAME", help="May be left out if the storage has only one."),
]
DEFAULT_STORAGE = "sqlite:///lrsearch.db"


def checked_pack(text: str) -> str:
    """Return the text of --pack if it is "auto" or a whole number from 1."""
    if text != "auto" and not (text.isdecimal() and int(text) >= 1):
        raise LrsearchError(f'--pack must be "auto" or a whole number from 1, but got {text!r}')
    return text


PackOption = Annotated[
    str,
    typer.Option(
        "--pack",
        metavar="auto|K",
        help="Trials that a worker trains together: auto is 1 on a CPU, and on CUDA what is "
        "fastest there.",
    ),
]


class Device(StrEnum):
    """Where to train: `auto` takes the GPUs if there are any."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@contextmanager
def opened(storage: str, name: str | None) -> Iterator[Study]:
    """Open a study that exists; what the database raises meanwhile becomes one clear message."""
    import optuna

    from lrsearch.storage import open_storage, storage_errors
    from lrsearch.study import open_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with storage_errors(storage):
        yield open_study(open_storage(storage, create=False), name)
