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
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        envvar="LRSEARCH_TRUST",
        show_envvar=True,
        help="Run the code that the study names, though you have not launched it here.",
    ),
]
DEFAULT_STORAGE = "sqlite:///lrsearch.db"


class Device(StrEnum):
    """Where to train: `auto` takes the GPUs if there are any."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[Device, typer.Option(help="Where to train.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Workers to start; else one per GPU or CPU core.")
]
PerDevice = Annotated[
    int, typer.Option("--workers-per-device", min=1, help="Workers that share a GPU.")
]


def _check_pack(text: str) -> str:
    if text != "auto" and not (text.isdecimal() and int(text) >= 1):
        raise LrsearchError(f'--pack must be "auto" or a whole number from 1, but got {text!r}')
    return text


PackOption = Annotated[
    str,
    typer.Option(
        "--pack",
        metavar="auto|K",
        callback=_check_pack,
        help="Trials that a worker trains together: auto is 1 on a CPU, and on CUDA what is "
        "fastest there, in a search at most a quarter of its trials.",
    ),
]


def names_in(text: str) -> list[str]:
    """Return the names in a list that commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


def quiet() -> None:
    """Keep Optuna from telling of every trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def allow(study: Study, *, trust: bool) -> None:
    """Refuse a study whose code is not this user's to run; `trust` vouches for it from now on."""
    from lrsearch.study import check_vouched, vouch

    if trust:
        vouch(study)
    else:
        check_vouched(study)


@contextmanager
def opened(storage: str, name: str | None, *, latest: int | None = None) -> Iterator[Study]:
    """Open a study that exists; what the database raises meanwhile becomes one clear message.

    Of so many of its latest trials checksums are compared, if not of all.
    """
    from lrsearch.storage import open_storage, storage_errors
    from lrsearch.study import open_study

    quiet()
    with storage_errors(storage):
        found = open_storage(storage, create=False)
        try:
            yield open_study(found, name, latest=latest)
        finally:
            found.engine.dispose()
