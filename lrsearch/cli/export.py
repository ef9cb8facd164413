"""`lrsearch export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened
from lrsearch.cli.output import ForceOption, check_output, writing
from lrsearch.errors import LrsearchError, nearest

if TYPE_CHECKING:
    from lrsearch.study import Answer

ENDINGS = {"json": ".json", "csv": ".csv"}
"""What files of a format end in; all others are Python."""


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
    force: ForceOption = False,
) -> None:
    """Write the best schedule as a file that a training script can use.

    The confirmed winner, if there is one. With it go the optimizer and what else it was found with.
    """
    from lrsearch.evaluation import read_answer
    from lrsearch.export import FORMATS, Exported, cautions, lost, rescaled

    if format not in FORMATS:
        raise LrsearchError(f"--format is {format!r}; {nearest(format, FORMATS)}")
    check_output(output, [ENDINGS.get(format, ".py")], force=force)
    with opened(storage, study) as opened_study:
        answer = read_answer(opened_study, trial)
        best = Exported.of(opened_study, answer)
    steps = best.total_steps if steps is None else steps
    text = FORMATS[format](rescaled(best, steps))
    for sentence in (*_notes(answer), *cautions(best, format), *lost(best, steps)):
        typer.echo(f"note: {sentence}", err=True)
    if output is None:
        typer.echo(text, nl=False)
        return
    with writing(output):
        output.write_text(text, encoding="utf-8")


def _notes(answer: Answer) -> list[str]:
    """Return which trial it is where that is not plainly the best of the search."""
    notes = []
    if answer.confirmed:
        notes.append(
            f"trial {answer.trial.number}, the confirmed winner: {answer.confirmed.summary}"
        )
    elif not answer.seeds:
        notes.append(f"no trial is trained in full yet; this one: {answer.known_from}")
    if answer.leads_now is not None:
        notes.append(
            f"trial {answer.leads_now} leads the search now and is not confirmed; "
            "`lrsearch confirm` compares them"
        )
    return notes
