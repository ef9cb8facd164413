"""`lrsearch confirm`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.launch import run
from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    StorageOption,
    StudyOption,
    TrustOption,
    allow,
    names_in,
    opened,
)
from lrsearch.cli.output import PAGE, ForceOption, check_output, writing
from lrsearch.cli.placing import Places, placed


@placed
def confirm(
    places: Places,
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best schedules.")] = 5,
    seeds: Annotated[int, typer.Option(min=2, help="On how many fresh seeds each.")] = 5,
    against: Annotated[
        str,
        typer.Option(
            metavar="FAMILY,…",
            help="Also the best schedule of these families; schedule_free: a constant rate with a "
            "schedule-free optimizer, which may need no schedule at all.",
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A page: FILE.html; or FILE.png.")
    ] = None,
    force: ForceOption = False,
    trust: TrustOption = False,
) -> None:
    """Train the best schedules again on fresh seeds, the same for all, and test each once.

    With the best of each of the three best families, constant, and what the study file lists. Run
    again, it goes on where it stopped. From then on the winner is what `export` hands over, and
    what status, report and dashboard name.
    """
    from lrsearch.cli.results import print_confirmation
    from lrsearch.cli.view import print_next
    from lrsearch.evaluation import confirmation_spec, find_answer, read_confirmation
    from lrsearch.reporting import confirmation_page, refresh, write_page
    from lrsearch.study import check_task, create_study, why_ended
    from lrsearch.tasks import check_devices, load_task

    check_output(output, PAGE, force=force)
    with closing(places.open()) as placement, opened(storage, study) as search:
        allow(search, trust=trust)
        spec = confirmation_spec(search, top, seeds, names_in(against))
        task = load_task(spec.task.run, spec.task_options())
        check_task(spec, task)
        check_devices(task, placement.device)
        confirming = create_study(search.storage, spec, task)
        run(confirming, storage, placement)
        refresh(search)
        found = read_confirmation(confirming)
        print_confirmation(found)
        if output is not None:
            with writing(output):
                write_page(output, confirmation_page(search.name, found))
        if answer := find_answer(search):
            print_next(search, storage, answer, why_ended(search))
