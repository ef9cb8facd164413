"""`lrsearch compare`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.launch import run
from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    StorageOption,
    names_in,
    quiet,
)
from lrsearch.cli.output import PAGE, ForceOption, check_output, writing
from lrsearch.cli.placing import Places, placed


@placed
def compare(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    places: Places,
    families: Annotated[
        str, typer.Option(metavar="FAMILY,…", help="Which; else those of the study file, or all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds for the best of each.")] = 5,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A page: FILE.html; or FILE.png.")
    ] = None,
    force: ForceOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Search each family with the study's number of trials, and confirm the best of each.

    Run again, it goes on where it stopped.
    """
    from lrsearch.cli.results import print_comparison
    from lrsearch.diagnosis import prepare
    from lrsearch.evaluation import comparison_spec, family_specs, read_comparison
    from lrsearch.reporting import comparison_page, write_page
    from lrsearch.storage import open_storage, storage_errors
    from lrsearch.study import StudySpec, check_task, create_study
    from lrsearch.tasks import check_devices

    quiet()
    check_output(output, PAGE, force=force)
    spec = StudySpec.from_toml(study_file)
    spec, task = prepare(spec, places.here, base_lr_from_finder=False)
    specs = family_specs(spec, names_in(families))
    for each in specs.values():
        check_task(each, task)
    with closing(places.open()) as placement, storage_errors(storage):
        check_devices(task, placement.device)
        opened = open_storage(storage)
        searches = {name: create_study(opened, each, task) for name, each in specs.items()}
        for search in searches.values():
            run(search, storage, placement)
        confirming = create_study(opened, comparison_spec(spec, searches, seeds), task)
        run(confirming, storage, placement)
        confirmation, results = read_comparison(confirming, searches)
    print_comparison(confirmation, results)
    if output is not None:
        with writing(output):
            write_page(output, comparison_page(spec.study.name, confirmation, results))
