"""The best schedule, for use elsewhere: one function per format."""

from collections.abc import Callable

from lrsearch.export.csv_format import to_csv
from lrsearch.export.exported import Exported, exported
from lrsearch.export.json_format import load_schedule, to_json
from lrsearch.export.python_format import to_python

FORMATS: dict[str, Callable[[Exported], str]] = {
    "json": to_json,
    "csv": to_csv,
    "python": to_python,
}
"""By name, what turns an exported schedule into a file's text."""

__all__ = ["FORMATS", "Exported", "exported", "load_schedule"]
