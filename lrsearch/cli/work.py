"""`lrsearch work`: one worker in the foreground."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    PackOption,
    StorageOption,
    StudyOption,
    TrustOption,
)

Devices = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|NAME,…",
        help="Where to train: also by name, all of each trial's devices, such as cuda:0,cuda:1.",
    ),
]

GpusPerTrial = Annotated[
    int,
    typer.Option(
        min=1,
        help="GPUs that train each trial together, for a task with parallel; on a CPU, processes.",
    ),
]


def work(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    device: Devices = "auto",
    gpus_per_trial: GpusPerTrial = 1,
    pack: PackOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Run one worker in the foreground: what a batch system starts, on any machine.

    It trains trials until the study's budget is used up. SIGINT or SIGTERM hands its trials back,
    for another worker to continue. On machines where you have not launched the study, --trust or
    LRSEARCH_TRUST=1 lets it run the code that the study names. Under SLURM, any number of
    preemptible jobs:

    ```bash
    #!/bin/bash
    #SBATCH --array=1-16 --gres=gpu:1 --requeue --signal=TERM@60
    export LRSEARCH_STORAGE=postgresql+psycopg://me@db-host/lrsearch
    export LRSEARCH_FILES=/shared/lrsearch LRSEARCH_TRUST=1  # or s3://BUCKET/lrsearch
    srun lrsearch work --device cuda
    ```
    """
    from lrsearch import worker
    from lrsearch.errors import RankLostError
    from lrsearch.storage import NoTrialReason
    from lrsearch.tasks import slots

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    parent = os.environ.get("LRSEARCH_PARENT")
    slot = slots(device, workers=1, pack=pack, per_trial=gpus_per_trial)[0]
    size = None if pack == "auto" else int(pack)
    leader = int(parent) if parent else None
    try:
        reason = worker.work(storage, study, slot.device, pack=size, parent=leader, trusted=trust)
    except RankLostError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(worker.RANK_LOST) from None
    typer.echo(f"leaving: {reason.value if reason else 'asked to'}")
    if reason is NoTrialReason.FAILING:
        raise typer.Exit(worker.FAILING)
