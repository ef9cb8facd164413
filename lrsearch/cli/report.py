"""`lrsearch report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened
from lrsearch.cli.output import ForceOption, check_output, writing
from lrsearch.errors import LrsearchError, nearest


def report(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    format: Annotated[
        str,
        typer.Option(
            help="html (one file that needs nothing else), or md (Markdown with PNG figures "
            "beside it; needs Chrome or Chromium)."
        ),
    ] = "html",
    force: ForceOption = False,
) -> None:
    """Write a report: figures, the best schedules, what was pruned, how to do it again."""
    from lrsearch.reporting import REPORT_FORMATS, make_report

    if format not in REPORT_FORMATS:
        raise LrsearchError(f"--format is {format!r}; {nearest(format, REPORT_FORMATS)}")
    check_output(output, [f".{format}"], force=force)
    with opened(storage, study) as opened_study:
        made = make_report(opened_study, still=format == "md")
    with writing(output):
        REPORT_FORMATS[format](made, output)
