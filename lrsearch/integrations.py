"""Other libraries' training loops, by the name that scripts import; see `lrsearch.export`."""

from lrsearch.export import lightning_callback as lightning_callback
