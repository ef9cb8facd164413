"""A worker: what trains the trials of a study, on one device."""

from lrsearch.worker.heartbeat import Heartbeat
from lrsearch.worker.leased import LeasedTrials
from lrsearch.worker.loop import POLL, work
from lrsearch.worker.pack_size import pack_size
from lrsearch.worker.packed import PackedTrials

__all__ = ["POLL", "Heartbeat", "LeasedTrials", "PackedTrials", "pack_size", "work"]
