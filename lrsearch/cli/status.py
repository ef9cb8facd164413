"""`lrsearch status` and `lrsearch stop`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened


def status(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show where a study stands: counts, the answer (confirmed, if it is), the workers.

    It names trials that were unstable but recovered, which evaluations once an epoch miss.
    """
    from lrsearch.cli.view import print_status
    from lrsearch.evaluation import find_answer
    from lrsearch.study import read_status

    with opened(storage, study, latest=1000) as opened_study:
        state, answer = read_status(opened_study), find_answer(opened_study)
    if as_json:
        best = answer.to_dict() if answer else None
        typer.echo(json.dumps({**state.to_dict(), "best": best}, indent=2, ensure_ascii=False))
    else:
        print_status(state, answer)


def stop(storage: StorageOption = DEFAULT_STORAGE, study: StudyOption = None) -> None:
    """Make a study's workers hand back their trials and leave; `resume` goes on."""
    with opened(storage, study) as opened_study:
        opened_study.set_stopping(True)
        typer.echo(
            f"the workers of {opened_study.name!r} leave in seconds; `lrsearch resume` goes on"
        )
