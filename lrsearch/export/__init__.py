"""The best schedule, for use elsewhere: one function per format.

Where a framework has a schedule of its own that is equal at every update, the file uses it. For
`plateau` it always uses the framework's own rule.
"""

from collections.abc import Callable

from lrsearch.export.csv_format import to_csv
from lrsearch.export.exported import Exported
from lrsearch.export.horizon import lost, rescaled
from lrsearch.export.json_format import load_run, load_schedule, to_json
from lrsearch.export.keras_format import to_keras
from lrsearch.export.lightning_format import to_lightning
from lrsearch.export.optax_format import to_optax
from lrsearch.export.optimizers import cautions
from lrsearch.export.python_format import to_python
from lrsearch.export.timm_format import to_timm
from lrsearch.export.transformers_format import to_transformers

FORMATS: dict[str, Callable[[Exported], str]] = {
    "json": to_json,
    "csv": to_csv,
    "python": to_python,
    "lightning": to_lightning,
    "transformers": to_transformers,
    "keras": to_keras,
    "optax": to_optax,
    "timm": to_timm,
}
"""By name, what turns an exported schedule into a file's text."""
