"""A Ray cluster of several nodes on this machine, on loopback: it obeys lines on its input.

Run as a program, so that the tests' own process has nothing of Ray in it. It prints the address,
then a line for each command that was obeyed: `add`, or `kill I`, which ends a node with all that
runs there, as if its power had failed.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

HERE = {
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "object_store_memory": 80 * 2**20,
    "num_cpus": 1,
}
STARTING = 120.0
"""Seconds that a node may take to start."""


def below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def add_to(cluster: Cluster) -> Any:
    """Add a node, and wait for it: on a busy machine longer than the half minute that Ray waits."""
    node = cluster.add_node(wait=False, **HERE)
    cluster.wait_for_nodes(timeout=STARTING)
    return node


def main() -> None:
    gpus = int(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_gpus": gpus, **HERE})
    nodes = [cluster.head_node] + [add_to(cluster) for _ in range(int(sys.argv[1]) - 1)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "add":
            nodes.append(add_to(cluster))
        else:
            node = nodes[int(numbers[0])]
            (raylet,) = node.all_processes["raylet"]
            on_it = below(raylet.process.pid)
            cluster.remove_node(node, allow_graceful=False)
            for pid in on_it:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        print("done", flush=True)
    cluster.shutdown()
    ray.shutdown()


main()
