"""A worker: what trains the trials of a study, on one device; and the launcher that starts them.

With one worker on a CPU, a study file gives the same study each time, also if the worker was killed
and started again in between.
"""

from lrsearch.worker.callbacks import Callback, Factory
from lrsearch.worker.grouping import Grouping, choose_grouping
from lrsearch.worker.launcher import FAILING, RANK_LOST, run_workers
from lrsearch.worker.placement import PlacedWorker, Placement, worker_command
from lrsearch.worker.plan import RungPlan, plan_of
from lrsearch.worker.processes import Processes
from lrsearch.worker.study_tasks import StudyTasks
from lrsearch.worker.trainer import Trainer
from lrsearch.worker.trial import Outcome, Pause, Run, TrialInTraining
from lrsearch.worker.worker import POLL, work
