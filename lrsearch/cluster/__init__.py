"""Many machines: a database server for who has none."""

from lrsearch.cluster.server import Server
