"""`lrsearch export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened
from lrsearch.errors import LrsearchError, nearest


def export(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    trial: Annotated[
        int | None,
        typer.Option(
            min=0, help="A complete trial's number; else the confirmed winner, else the best."
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="json (read by lrsearch.load_schedule), csv (step, lr, momentum), python (a file "
            "that needs only torch), or a file for lightning, transformers, keras, optax or timm."
        ),
    ] = "json",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Updates of your run, if others; durations keep their share."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file; else the terminal.")
    ] = None,
) -> None:
    """Write the best schedule as a file that a training script can use."""
    from lrsearch.evaluation import read_answer
    from lrsearch.export import FORMATS, Exported, lost, rescaled

    if format not in FORMATS:
        raise LrsearchError(f"--format is {format!r}; {nearest(format, FORMATS)}")
    with opened(storage, study) as opened_study:
        answer = read_answer(opened_study, trial)
        best = Exported.of(opened_study.name, answer.trial, answer.confirmed)
    steps = best.total_steps if steps is None else steps
    text = FORMATS[format](rescaled(best, steps))
    if best.confirmed:
        typer.echo(f"note: trial {best.trial}, the confirmed winner: {best.confirmed}", err=True)
    if not best.seeds:
        typer.echo(f"note: no trial is trained in full yet; this one: {best.known_from}", err=True)
    for sentence in lost(best, steps):
        typer.echo(f"note: {sentence}", err=True)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LrsearchError(f"cannot write {output}: {error.strerror}") from None
