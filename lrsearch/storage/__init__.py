"""Where studies live: an Optuna storage safe for many processes, and our own tables beside it."""

from lrsearch.storage.claims import FINISHED, Nothing, Worker
from lrsearch.storage.engine import Storage, open_storage
from lrsearch.storage.leases import Lease, LeaseLost
from lrsearch.storage.messages import masked, reason_of, storage_errors
from lrsearch.storage.metrics import EpochMetrics, count_epochs, read_metrics, record_metrics

__all__ = [
    "FINISHED",
    "EpochMetrics",
    "Lease",
    "LeaseLost",
    "Nothing",
    "Storage",
    "Worker",
    "count_epochs",
    "masked",
    "open_storage",
    "read_metrics",
    "reason_of",
    "record_metrics",
    "storage_errors",
]
