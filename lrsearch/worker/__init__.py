"""A worker: what trains the trials of a study, on one device; and the launcher that starts them."""

from lrsearch.worker.grouping import Grouping, choose_grouping
from lrsearch.worker.launcher import FAILING, run_workers
from lrsearch.worker.trainer import Trainer
from lrsearch.worker.trial import Outcome, Run, StudyTasks, TrialInTraining
from lrsearch.worker.worker import POLL, work
