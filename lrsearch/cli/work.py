"""`lrsearch work`: one worker in the foreground."""

from __future__ import annotations

import logging
import os

import typer

from lrsearch.cli.options import (
    DEFAULT_STORAGE,
    Device,
    DeviceOption,
    PackOption,
    StorageOption,
    StudyOption,
    TrustOption,
)


def work(
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    device: DeviceOption = Device.auto,
    pack: PackOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Run one worker in the foreground: what a batch system starts, on any machine.

    It trains trials until the study's budget is used up. SIGINT or SIGTERM hands its trials back,
    for another worker to continue. On machines where you have not launched the study, --trust or
    LRSEARCH_TRUST=1 lets it run the code that the study names. Under SLURM, any number of
    preemptible jobs:

    \b
    #!/bin/bash
    #SBATCH --array=1-16 --gres=gpu:1 --requeue --signal=TERM@60
    export LRSEARCH_STORAGE=postgresql+psycopg://me@db-host/lrsearch
    export LRSEARCH_FILES=/shared/lrsearch LRSEARCH_TRUST=1
    srun lrsearch work --device cuda
    """
    from lrsearch import worker
    from lrsearch.storage import NoTrialReason
    from lrsearch.tasks import slots

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    parent = os.environ.get("LRSEARCH_PARENT")
    slot = slots(device.value, workers=1)[0]
    size = None if pack == "auto" else int(pack)
    reason = worker.work(
        storage,
        study,
        slot.device,
        pack=size,
        parent=int(parent) if parent else None,
        trusted=trust,
    )
    typer.echo(f"leaving: {reason.value if reason else 'asked to'}")
    if reason is NoTrialReason.FAILING:
        raise typer.Exit(worker.FAILING)
