"""Where studies live: an Optuna storage safe for many processes, and our own tables beside it."""

from lrsearch.storage.begun import FAILED_TO_TRAIN, BegunTrial
from lrsearch.storage.budget import FINISHED, count_finished_trials, ended_among, seconds_left
from lrsearch.storage.leases import END, Lease, LeaseLost
from lrsearch.storage.messages import (
    DATABASE_ERRORS,
    is_disconnect,
    masked,
    reason_of,
    storage_errors,
)
from lrsearch.storage.metrics import (
    EpochMetrics,
    RunEnd,
    count_epochs,
    is_slow,
    latest_trials,
    read_metrics,
    read_run_ends,
    record_metrics,
    slow_trials,
)
from lrsearch.storage.open import open_storage
from lrsearch.storage.optuna_private import (
    plot_attribute,
    read_note,
    serialize_attributes,
    serialize_distribution,
    serialize_trial,
    show_attributes,
    study_id_of,
    trial_id_of,
)
from lrsearch.storage.postgresql import leave_soon
from lrsearch.storage.queue import NoTrialReason, Plan, Step, TrialQueue
from lrsearch.storage.sketches import Sketch, read_sketches
from lrsearch.storage.storage import Storage
from lrsearch.storage.studies import (
    StudyRow,
    creating_alone,
    forget_study,
    insert_study,
    read_study,
    set_limits,
    set_stopping,
    set_target,
    study_names,
    study_of_trial,
)
from lrsearch.storage.trial_rows import collecting_later
from lrsearch.storage.workers import (
    LeaseSpan,
    WorkerRow,
    count_epochs_of,
    current_time,
    read_lease_spans,
    read_workers,
)
