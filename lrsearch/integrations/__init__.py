"""Other libraries' training as tasks, and our schedules in their own loops.

A library is imported when it is asked for.
"""

from lrsearch.integrations.function import FunctionTask, function_task
from lrsearch.integrations.lightning import lightning_callback
from lrsearch.integrations.objective import on_horizons
from lrsearch.search import HorizonsPruner
