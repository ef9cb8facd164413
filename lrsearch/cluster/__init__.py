"""Many machines: workers placed by Ray or SLURM, and a database server for who has none.

Where workers run is all that differs: each is the same `lrsearch work`, and what is to be trained
stands in the database.
"""

from lrsearch.cluster.ray_placement import LOCAL, RayPlacement
from lrsearch.cluster.server import Server
from lrsearch.cluster.slurm_placement import SlurmPlacement
