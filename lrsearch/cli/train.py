"""`lrsearch train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    Device,
    DeviceOption,
    StorageOption,
    StudyOption,
    opened,
)
from lrsearch.errors import LrsearchError


def train(
    schedule: Annotated[
        Path, typer.Option(help="A schedule that `lrsearch export --format json` wrote.")
    ],
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The network; its curve goes beside it as .csv.")
    ] = Path("model.safetensors"),
    seed: Annotated[int | None, typer.Option(min=0, help="Else the study's.")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Train a study's task once with a schedule, test it, and save the network."""
    from lrsearch import evaluation
    from lrsearch.cli.view import progress_line
    from lrsearch.export import load_schedule
    from lrsearch.tasks import load_task, slots

    if not output.parent.is_dir():
        raise LrsearchError(f"cannot write {output}: there is no folder {output.parent}; create it")
    loaded = load_schedule(schedule)
    with opened(storage, study) as opened_study:
        task = load_task(opened_study.spec.task.run, evaluation.options_for(opened_study, loaded))
        chosen = opened_study.spec.study.seed if seed is None else seed
    rows = []
    for row, progress in evaluation.train(
        task, loaded, seed=chosen, device=slots(device.value, workers=1)[0].device
    ):
        rows.append(row)
        typer.echo(progress_line(row, task.epochs))
        if row.epoch == task.epochs:
            evaluation.save_model(progress, output)
            evaluation.save_curve(rows, output.with_suffix(".csv"))
    typer.echo(f"saved {output} and {output.with_suffix('.csv')}")
