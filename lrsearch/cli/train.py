"""`lrsearch train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    Device,
    DeviceOption,
    StorageOption,
    StudyOption,
    TrustOption,
    allow,
    opened,
)
from lrsearch.cli.output import ForceOption, check_output, writing

if TYPE_CHECKING:
    from lrsearch.storage import EpochMetrics


def train(
    schedule: Annotated[
        Path, typer.Option(help="A schedule that `lrsearch export --format json` wrote.")
    ],
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="FILE.safetensors, the network; or FILE.pt, all of the task's state, for "
            "torch.load. Else model.safetensors, or model.pt of a task without a network. The "
            "curve goes beside it as .csv.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Else the study's.")] = None,
    device: DeviceOption = Device.auto,
    force: ForceOption = False,
    trust: TrustOption = False,
) -> None:
    """Train a study's task once with a schedule, test it, and save what was trained.

    After each epoch it prints what the epoch came to, and before it how the train loss and accuracy
    went within: at least 5 points, every 50 updates of a longer epoch, at most 20.

    A task of your own is first trained in a run of one epoch, to see that its state can be saved.
    """
    from lrsearch import evaluation
    from lrsearch.cli.view import curve_lines, progress_line
    from lrsearch.export import load_schedule
    from lrsearch.study import first_epoch
    from lrsearch.tasks import load_task, slots

    named = [output] if output else [Path(f"model{ending}") for ending in evaluation.MODEL_ENDINGS]
    for path in (*named, named[0].with_suffix(".csv")):
        check_output(path, (*evaluation.MODEL_ENDINGS, ".csv"), force=force)
    loaded = load_schedule(schedule)
    with opened(storage, study) as opened_study:
        allow(opened_study, trust=trust)
        task = load_task(opened_study.spec.task.run, evaluation.options_for(opened_study, loaded))
        spec = opened_study.spec
    chosen = spec.study.seed if seed is None else seed
    place = slots(device.value, workers=1)[0].device
    if rehearsed := first_epoch(spec, task, place, epochs=1):
        evaluation.model_path(rehearsed, output)
    rows: list[EpochMetrics] = []
    for row, progress in evaluation.train(task, loaded, seed=chosen, device=place):
        if not rows:
            path = evaluation.model_path(progress, output)
        rows.append(row)
        for line in (*curve_lines(row), progress_line(row, task.epochs)):
            typer.echo(line)
        if row.epoch == task.epochs:
            curve = path.with_suffix(".csv")
            with writing(path, curve):
                evaluation.save_model(progress, path)
                evaluation.save_curve(rows, curve)
            if progress.learned is False:
                typer.echo("note: it failed to train: the loss ends no better than a guess's")
