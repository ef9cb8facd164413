"""Workers as jobs of SLURM: one array, preemptible and queued again; submitit submits it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrsearch.cluster.slots import slot_of
from lrsearch.errors import PlacementError
from lrsearch.study import Study
from lrsearch.worker import worker_command

CLUSTER = "slurm"
"""The name of submitit's executor."""
MINUTES = 240
"""A job's time, after which it is queued again, unless `SBATCH_TIMELIMIT` says otherwise."""
NOTICE = 90
"""Seconds before its end at which a job is asked to leave."""
LOST = -signal.SIGKILL
"""The status of a job that ended without saying how."""
LOOK = 2.0
"""Seconds between two looks at a job."""


class SlurmWorker:
    """A worker in a job of SLURM.

    Args:
        job: submitit's handle of it.
    """

    def __init__(self, job: Any) -> None:
        self.job = job
        self.process: tuple[str, int] | None = None
        self._status: int | None = None
        self._looked = -LOOK

    @property
    def log(self) -> Path:
        """What it says."""
        return Path(self.job.paths.stdout)

    @property
    def state(self) -> str:
        """What SLURM calls its state, as far as is known."""
        return "ended" if self._status is not None else str(self.job.state).lower()

    @property
    def waiting(self) -> bool:
        """Whether it is queued."""
        return self.state in ("pending", "requeued")

    def poll(self) -> int | None:
        """Return its exit status; `None` while it waits or runs."""
        if self._status is None and time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            if self.job.done():
                self._status = self._result()
        return self._status

    def send(self, number: int) -> None:
        """Cancel the job; SLURM signals the worker, and kills it where it does not leave."""
        if self._status is None:
            self._status = 0
            self.job.cancel(check=False)

    def _result(self) -> int:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            status, *process = self.job.result()
        except (FailedJobError, UncompletedJobError):
            return LOST
        host, pid = process
        self.process = (host, pid)
        return int(status)


class SlurmPlacement:
    """Places each worker in a job of SLURM's.

    Args:
        jobs: how many.
        gpus: how many GPUs each job has, all for its one worker; 0 for the CPU.
        partition: where they run; else SLURM's default. What else `sbatch` is to know stands in its
            own variables, such as `SBATCH_ACCOUNT` and `SBATCH_TIMELIMIT`.
        pack: trials that each trains together, or "auto".

    Raises:
        PlacementError: if submitit is not installed.
    """

    def __init__(
        self, jobs: int, gpus: int = 0, partition: str | None = None, pack: str = "auto"
    ) -> None:
        if find_spec("submitit") is None:
            raise PlacementError("--on slurm needs submitit: pip install 'lrsearch[slurm]'")
        self.jobs = jobs
        self.gpus = gpus
        self.partition = partition
        self.slot = slot_of(max(1, gpus), pack, gpus=gpus > 0)
        self._submitted: list[SlurmWorker] = []

    @property
    def device(self) -> str:
        """What each worker trains on."""
        return self.slot.device

    def wanted(self, study: Study) -> int:
        """Return how many jobs there are to be."""
        return self.jobs

    def start(self, study: Study, url: str, places: Sequence[int]) -> list[SlurmWorker]:
        """Submit an array of jobs, one for each place.

        Raises:
            PlacementError: if SLURM does not take it, or could not share the storage.
        """
        from submitit.core.utils import environment_variables

        if study.storage.of_this_machine and CLUSTER == "slurm":
            raise PlacementError(
                "the storage is of this machine alone, and SLURM's jobs run on others; `lrsearch "
                "serve --host ADDRESS` runs a PostgreSQL for them; then launch with the "
                "LRSEARCH_STORAGE that it prints"
            )
        from lrsearch.cluster.slurm_job import WorkerJob

        job = WorkerJob(worker_command(study, self.slot), self.slot.environment)
        try:
            executor = self._executor(study.files / "logs" / "slurm", len(places))
            with environment_variables(LRSEARCH_STORAGE=url), executor.batch():
                jobs = [executor.submit(job) for _ in places]
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise PlacementError(f"SLURM did not take the jobs: {reason}") from error
        workers = [SlurmWorker(job) for job in jobs]
        self._submitted += workers
        return workers

    def summary(self) -> str:
        """Return how many jobs are in which state."""
        arrays = sorted({str(worker.job.job_id).partition("_")[0] for worker in self._submitted})
        states = Counter(worker.state for worker in self._submitted)
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return f"SLURM {', '.join(arrays)}: {counts}"

    def close(self) -> None:
        """Cancel what has not ended."""
        for worker in self._submitted:
            worker.send(signal.SIGTERM)

    def _executor(self, folder: Path, count: int) -> Any:
        from submitit import AutoExecutor

        executor = AutoExecutor(folder, cluster=CLUSTER, slurm_max_num_timeout=10**6)
        executor.update_parameters(
            name="lrsearch",
            timeout_min=MINUTES,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=1,
            gpus_per_node=self.gpus or None,
            stderr_to_stdout=True,
            slurm_partition=self.partition,
            slurm_array_parallelism=count,
            slurm_signal_delay_s=NOTICE,
            slurm_additional_parameters={"requeue": True},
        )
        return executor
