"""Other libraries' training as tasks, and our schedules in their own loops.

A library is imported when it is asked for.
"""

from lrsearch.integrations.function import FunctionTask, function_task
from lrsearch.integrations.keras import KerasTask, keras_task
from lrsearch.integrations.lightning import LightningTask, lightning_callback, lightning_task
from lrsearch.integrations.objective import on_horizons
from lrsearch.integrations.transformers import TrainerTask, trainer_space, trainer_task
from lrsearch.search import HorizonsPruner
