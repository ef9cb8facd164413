"""`lrsearch dashboard`."""

from __future__ import annotations

from typing import Annotated

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened


def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port on loopback.")] = 8080,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name besides localhost that a browser may ask for."),
    ] = None,
) -> None:
    """Start optuna-dashboard on a study, for this machine only (it has no password)."""
    from lrsearch.reporting import HOST, serve

    with opened(storage, study) as opened_study:
        typer.echo(
            f"http://{HOST}:{port}/dashboard/studies/{opened_study.study_id} (Ctrl-C to end)"
        )
        serve(opened_study, port, host or ())
