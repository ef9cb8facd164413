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
    from lrsearch.cli.view import progress_line
    from lrsearch.devices import slots
    from lrsearch.export import load_schedule
    from lrsearch.tasks import load_task
    from lrsearch.train import options_for, save_curve, save_model, train

    if not output.parent.is_dir():
        raise LrsearchError(f"cannot write {output}: there is no folder {output.parent}; create it")
    loaded = load_schedule(schedule)
    with opened(storage, study) as found:
        task = load_task(found.spec.task.run, options_for(found, loaded))
        chosen = found.spec.study.seed if seed is None else seed
    rows = []
    for row, progress in train(
        task, loaded, seed=chosen, device=slots(device.value, workers=1)[0].device
    ):
        rows.append(row)
        typer.echo(progress_line(row, task.epochs))
        if row.epoch == task.epochs:
            save_model(progress, output)
            save_curve(rows, output.with_suffix(".csv"))
    typer.echo(f"saved {output} and {output.with_suffix('.csv')}")
