"""`lrsearch launch` and `lrsearch resume`."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    StorageOption,
    StudyOption,
    TrustOption,
    allow,
    opened,
    quiet,
)
from lrsearch.cli.placing import Places, placed

if TYPE_CHECKING:
    from lrsearch.study import Study
    from lrsearch.worker import Placement

Trials = Annotated[
    int | None, typer.Option(min=1, help="The total number of trials, in place of the study's.")
]


Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Epochs of training in all; no run begins that would exceed them."),
]
Time = Annotated[
    str | None, typer.Option(metavar="TIME", help='From the first trial on, such as "90m", "2h".')
]


class BaseLrFrom(StrEnum):
    """Where the domain of `base_lr` may come from instead of the study file."""

    find_lr = "find-lr"


@placed
def launch(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    places: Places,
    storage: StorageOption = DEFAULT_STORAGE,
    trials: Trials = None,
    epochs: Epochs = None,
    time: Time = None,
    learn_from: Annotated[
        str | None,
        typer.Option("--from", metavar="STUDY", help="Learn from the trials of an earlier study."),
    ] = None,
    from_storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Where that is; else the same storage.")
    ] = None,
    base_lr_from: Annotated[
        BaseLrFrom | None, typer.Option(help="Search base_lr where the finder suggests.")
    ] = None,
) -> None:
    """Create a study and work on it; launched again, it goes on up to its budget.

    A task of your own is first trained for one epoch at the lowest rate, so that its mistakes show.
    """
    from lrsearch.diagnosis import prepare
    from lrsearch.storage import open_storage, storage_errors, study_names
    from lrsearch.study import (
        StudySpec,
        check_task,
        create_study,
        open_study,
        rehearse,
        study_notes,
    )
    from lrsearch.tasks import check_devices

    quiet()
    spec = StudySpec.from_toml(study_file)
    if base_lr_from is not None:
        typer.echo("finding the domain of base_lr …")
    spec, task = prepare(spec, places.here, base_lr_from_finder=base_lr_from is not None)
    check_task(spec, task)
    with closing(places.open()) as placement, storage_errors(storage):
        check_devices(task, placement.device)
        there = open_storage(storage)
        earlier = None
        if learn_from:
            source = open_storage(from_storage, create=False) if from_storage else there
            earlier = open_study(source, learn_from)
        if spec.study.name not in study_names(there):
            rehearse(spec, task, places.here)
        study = create_study(there, spec, task, earlier)
        for note in study_notes(spec, task):
            typer.echo(f"note: {note}")
        if known := study.learns_from:
            typer.echo(f"learning from {known[1]} trials of {known[0]!r}, which cost nothing")
        _search(study, storage, placement, trials, epochs, time)


@placed
def resume(
    places: Places,
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    trials: Trials = None,
    epochs: Epochs = None,
    time: Time = None,
    trust: TrustOption = False,
) -> None:
    """Work on a study that exists, from any machine; it needs no study file.

    Where somebody else launched it, --trust says once that its code may run here.
    """
    from lrsearch.tasks import check_devices, devices_of, load_task

    with closing(places.open()) as placement, opened(storage, study) as opened_study:
        allow(opened_study, trust=trust)
        if len(devices_of(placement.device)) > 1:
            spec = opened_study.spec
            check_devices(load_task(spec.task.run, spec.task_options()), placement.device)
        _search(opened_study, storage, placement, trials, epochs, time)


def _search(
    study: Study,
    url: str,
    placement: Placement,
    trials: int | None,
    epochs: int | None,
    time: str | None,
) -> None:
    from lrsearch.cli.results import print_confirmation
    from lrsearch.cli.view import print_result
    from lrsearch.evaluation import read_confirmation
    from lrsearch.study import read_seconds

    if trials is not None:
        study.set_target(trials)
    study.set_limits(epochs=epochs, seconds=read_seconds(time) if time else None)
    run(study, url, placement)
    if study.spec.confirm:
        print_confirmation(read_confirmation(study))
    else:
        print_result(study, url)


def run(study: Study, url: str, placement: Placement) -> None:
    """Work on a study until nothing is left to do, and show it; leave where it is interrupted."""
    from lrsearch.cli.view import LiveView
    from lrsearch.reporting import read_layout, refresh
    from lrsearch.worker import run_workers

    read_layout()  # one that cannot be used is refused before anything is trained
    study.set_stopping(False)
    with LiveView(study) as view:
        ended = run_workers(study, url, placement, view.show)
    refresh(study)
    if not ended:
        typer.echo("interrupted; unfinished trials are kept: `lrsearch resume` goes on", err=True)
        raise typer.Exit(130)
