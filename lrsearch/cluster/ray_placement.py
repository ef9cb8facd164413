"""Workers on a Ray cluster: Ray places and watches them, and knows nothing of trials.

Each worker is an actor that asks for its GPUs or its CPU core. One more than there is room for is
always asked for, while trials are left for it: so nodes that join are taken up at once, and what
waits is what the cluster's autoscaler goes by.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrsearch.cluster.ray_host import WorkerHost
from lrsearch.cluster.slots import slot_of
from lrsearch.errors import PlacementError
from lrsearch.storage import Storage, count_finished_trials
from lrsearch.study import Study
from lrsearch.worker import worker_command

LOCAL = "local"
"""The address of a Ray of this machine's own, which ends with this process."""
LOST = -signal.SIGKILL
"""The status of a worker whose node is gone: as if it had been killed."""
LOOK = 1.0
"""Seconds between two looks at a worker."""
HANDED_OVER = ("LRSEARCH_", "PG")
"""How the variables begin that workers are given of this process's own."""
CONNECT = 10.0
"""Seconds in which a cluster is to answer; Ray itself would try for hours."""


def load_ray() -> Any:
    """Return Ray, which takes a second to import."""
    import ray

    return ray


class RayWorker:
    """A worker in a Ray actor.

    Args:
        actor: the handle of its `WorkerHost`.
        started: what its `start` returned.
        log: the file that what it says is appended to, on this machine.
    """

    def __init__(self, actor: Any, started: Any, log: Path) -> None:
        self.log = log
        self.process: tuple[str, int] | None = None
        self._actor = actor
        self._answer = started
        self._looked = 0.0
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as is known."""
        return self._status is not None

    @property
    def waiting(self) -> bool:
        """Whether Ray has no room for it yet."""
        return self.process is None and not self.ended

    def poll(self) -> int | None:
        """Return its exit status; `None` while it waits or runs."""
        ray = load_ray()
        if self._status is not None:
            return self._status
        if self._answer is None:
            if time.monotonic() - self._looked >= LOOK:
                self._looked = time.monotonic()
                self._answer = self._actor.look.remote()
        elif ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            try:
                self._hear(ray.get(answer))
            except ray.exceptions.RayError as error:
                self._write(f"{error}\n".encode())
                self._end(LOST)
        return self._status

    def send(self, number: int) -> None:
        """Send it a signal; one that waits is withdrawn."""
        if self.waiting:
            self._end(0)
        elif number == signal.SIGKILL:
            self._end(LOST)
        elif self._status is None:
            self._actor.send.remote(number)

    def _hear(self, answer: Any) -> None:
        if self.process is None:
            self.process = answer
            return
        status, said = answer
        self._write(said)
        if status is not None:
            self._end(status)

    def _end(self, status: int) -> None:
        """Give back its place."""
        ray = load_ray()
        self._status = status
        ray.kill(self._actor)

    def _write(self, said: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(said)


class RayPlacement:
    """Places workers on a Ray cluster.

    Args:
        address: the cluster's, as `ray.init` takes it; `LOCAL` for one of this machine's own.
        device: "cpu", "cuda", or "auto": GPUs where the cluster has any, else CPU cores.
        workers: at most how many; else as many as there is room for.
        per_worker: GPUs that each has, also a fraction of one; on CPUs, cores.
        pack: trials that each trains together, or "auto".

    Raises:
        PlacementError: if Ray is not installed, the cluster does not answer, or a worker is to have
            a number of GPUs that Ray does not give.
    """

    def __init__(
        self,
        address: str = LOCAL,
        device: str = "auto",
        workers: int | None = None,
        per_worker: float = 1.0,
        pack: str = "auto",
    ) -> None:
        if per_worker <= 0 or (per_worker > 1 and per_worker != int(per_worker)):
            raise PlacementError(
                f"Ray gives a worker a whole number of GPUs or a fraction of one, not {per_worker}"
            )
        if find_spec("ray") is None:
            raise PlacementError("--on ray needs Ray: pip install 'lrsearch[ray]'")
        self.workers = workers
        self._connect(address)
        gpus = device == "cuda" or (device == "auto" and self._total("GPU") > 0)
        self.resource, self.per_worker = ("GPU", per_worker) if gpus else ("CPU", per_worker)
        self.slot = slot_of(max(1, int(per_worker)), pack, gpus=gpus)
        self._placed: list[RayWorker] = []
        self._reached = False

    @property
    def device(self) -> str:
        """What each worker trains on."""
        return self.slot.device

    def wanted(self, study: Study) -> int:
        """Return for how many there is room, and one more; not more than trials are left.

        What room others take up is known late, so only fewer trials make them fewer.

        Raises:
            PlacementError: if other nodes of the cluster cannot reach the storage.
        """
        self._check_reach(study.storage)
        left = study.target - count_finished_trials(study.storage, study.study_id)
        workers = self._running()
        free = load_ray().available_resources().get(self.resource, 0.0)
        running = sum(not worker.waiting for worker in workers)
        room = min(self._room(study.storage), running + _times(free, self.per_worker))
        return min(left, max(room + 1, len(workers)), self.workers or left)

    def start(self, study: Study, url: str, places: Sequence[int]) -> list[RayWorker]:
        """Ask Ray for an actor for each worker."""
        ray = load_ray()
        gpus = self.resource == "GPU"
        options: dict[str, Any] = {"num_cpus": 0 if gpus else self.per_worker}
        if gpus:
            options["num_gpus"] = self.per_worker
        if study.storage.is_file:  # nodes that join later cannot share it
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(_here(), soft=False)
        host = ray.remote(WorkerHost).options(max_restarts=0, **options)
        given = {name: os.environ[name] for name in os.environ if name.startswith(HANDED_OVER)}
        given.pop("PGPASSFILE", None)  # the password is in the URL
        own = {"LRSEARCH_STORAGE": study.storage.url_with_password()}
        arguments = worker_command(study, self.slot), given | self.slot.environment | own
        logs = study.files / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        started = []
        for place in places:
            actor = host.remote()
            answer = actor.start.remote(*arguments, str(Path.cwd()))
            started.append(RayWorker(actor, answer, logs / f"worker-{os.getpid()}-{place}.log"))
        self._placed = [*self._running(), *started]
        return started

    def summary(self) -> str:
        """Return how many run on how many nodes, and how many wait for room."""
        ray = load_ray()
        workers = self._running()
        waiting = sum(worker.waiting for worker in workers)
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        of = f"{nodes} nodes" if nodes != 1 else "1 node"
        wait = f", {waiting} waiting for {self.per_worker:g} {self.resource}" if waiting else ""
        return f"Ray: {len(workers) - waiting} running on {of}{wait}"

    def close(self) -> None:
        """Leave the cluster; a local one ends, and so does every worker that is left."""
        ray = load_ray()
        ray.shutdown()

    def _running(self) -> list[RayWorker]:
        return [worker for worker in self._placed if not worker.ended]

    def _connect(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address == LOCAL:  # what Ray does where it supports no clusters: loopback alone
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        ray = load_ray()
        options = {"include_dashboard": False} if address == LOCAL else {}
        try:
            _check_answers(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise PlacementError(
                f"the Ray cluster at {address!r} does not answer: {reason}; `ray status` tells of "
                "it, and without --address Ray is started on this machine"
            ) from error

    def _total(self, resource: str) -> float:
        ray = load_ray()
        return float(ray.cluster_resources().get(resource, 0.0))

    def _room(self, storage: Storage) -> int:
        """Return how many workers the nodes that share a storage could run at once."""
        ray = load_ray()
        return sum(
            _times(node["Resources"].get(self.resource, 0.0), self.per_worker)
            for node in ray.nodes()
            if node["Alive"] and (node["NodeID"] == _here() or not storage.is_file)
        )

    def _check_reach(self, storage: Storage) -> None:
        """Refuse a storage that other nodes of the cluster cannot reach, before any work begins."""
        if self._reached:
            return
        ray = load_ray()
        nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
        serve = (
            "`lrsearch serve --host ADDRESS` runs a PostgreSQL for them; then launch with the "
            "LRSEARCH_STORAGE that it prints"
        )
        if storage.is_file and len(nodes) > 1:
            raise PlacementError(
                f"the storage is a SQLite file, which only the processes of one machine can share, "
                f"and the Ray cluster has {len(nodes)} nodes; {serve}"
            )
        if storage.of_this_machine and len(set(nodes)) > 1:
            raise PlacementError(
                "the storage's address is this machine's own, under which the Ray cluster's other "
                f"nodes do not find it; {serve}"
            )
        self._reached = True


def _check_answers(address: str) -> None:
    """Raise an `OSError` where nothing listens at `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()


def _here() -> str:
    """Return Ray's id of this node."""
    node: str = load_ray().get_runtime_context().get_node_id()
    return node


def _times(amount: float, part: float) -> int:
    """Return how often a part goes into an amount, as Ray counts: to the ten-thousandth."""
    return round(amount * 10_000) // round(part * 10_000)
