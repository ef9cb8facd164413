"""Where the workers of a command run: its options, and what comes of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import Device, DeviceOption, PackOption, PerDevice, Workers
from lrsearch.errors import PlacementError

if TYPE_CHECKING:
    from lrsearch.worker import Placement


class On(StrEnum):
    """What places workers."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


@dataclass(frozen=True)
class Places:
    """Where workers are to run, as options say it.

    Raises:
        PlacementError: if an option does not go with what `--on` names.
    """

    workers: Workers = None
    workers_per_device: PerDevice = 1
    device: DeviceOption = Device.auto
    pack: PackOption = "auto"
    on: Annotated[On, typer.Option(help="What starts the workers: this command, or a cluster.")] = (
        On.local
    )
    gpus_per_trial: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="N",
            help="GPUs that train each trial together, for a task with parallel; on a CPU, "
            "processes. On Ray also a fraction of one GPU.",
        ),
    ] = 1.0
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            show_envvar=True,
            metavar="HOST:PORT|auto",
            help="The Ray cluster; else Ray is started on this machine.",
        ),
    ] = None
    partition: Annotated[
        str | None, typer.Option(metavar="NAME", help="SLURM's partition; else its default.")
    ] = None
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs of each SLURM job, all for its one worker.")
    ] = None
    jobs: Annotated[int | None, typer.Option(min=1, help="SLURM jobs, one worker in each.")] = None

    def __post_init__(self) -> None:
        slurm = {"--partition": self.partition, "--gpus": self.gpus, "--jobs": self.jobs}
        for option, value in slurm.items():
            if value is not None and self.on is not On.slurm:
                raise PlacementError(f"{option} is for SLURM; add --on slurm, or leave it out")
        if self.on is not On.ray and (self.per_trial < 1 or self.per_trial != self.gpus_per_trial):
            raise PlacementError(
                f"--gpus-per-trial {self.gpus_per_trial:g} is for --on ray; without, it is a whole "
                "number from 1, and --workers-per-device has several workers share a GPU"
            )

    @property
    def per_trial(self) -> int:
        """How many GPUs train each trial together."""
        return int(self.gpus_per_trial)

    @property
    def here(self) -> str:
        """The torch device of this machine, for what is trained before a launch.

        Raises:
            DeviceError: if what workers on this machine are to train on is not there.
        """
        from lrsearch.tasks import devices_of, slots

        if self.on is On.local:
            return devices_of(self.open().device)[0]
        return slots("auto", workers=1)[0].device

    def open(self) -> Placement:
        """Return what places the workers.

        Raises:
            DeviceError: if the device is not there.
            PlacementError: if the cluster is not, or not what it takes to use it.
        """
        if self.on is On.local:
            from lrsearch.tasks import slots
            from lrsearch.worker import Processes

            device, per_device = self.device.value, self.workers_per_device
            found = slots(device, self.workers, per_device, self.pack, self.per_trial)
            return Processes(found)
        from lrsearch.cluster import LOCAL, RayPlacement, SlurmPlacement

        if self.on is On.slurm:
            jobs = self.jobs or self.workers or 1
            return SlurmPlacement(jobs, self._gpus_of_a_job, self.partition, self.pack)
        if self.per_trial > 1 and self.workers_per_device > 1:
            raise PlacementError(
                f"Ray gives each worker GPUs of its own; --workers-per-device "
                f"{self.workers_per_device} does not go with --gpus-per-trial {self.per_trial}"
            )
        per_worker = self.gpus_per_trial / self.workers_per_device
        return RayPlacement(
            self.address or LOCAL, self.device.value, self.workers, per_worker, self.pack
        )

    @property
    def _gpus_of_a_job(self) -> int:
        several = self.per_trial > 1
        gpus = self.gpus
        if gpus is None:
            gpus = self.per_trial if several or self.device is Device.cuda else 0
        if several and gpus != self.per_trial:
            raise PlacementError(
                f"a SLURM job runs one worker, which has all its GPUs; --gpus {gpus} does not go "
                f"with --gpus-per-trial {self.per_trial}"
            )
        if gpus and self.device is Device.cpu:
            raise PlacementError(f"--device cpu does not go with {gpus} GPUs for each SLURM job")
        return gpus


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Places`; it gets them together, as `places`."""
    own = inspect.signature(command, eval_str=True)
    options = inspect.signature(Places, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        places = Places(**{name: given.pop(name) for name in options})
        command(**given, places=places)

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in (*own.parameters.values(), *options.values())
        if each.name != "places"
    ]
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options
