"""A study as a report: one self-contained page, or Markdown with pictures beside it."""

from collections.abc import Callable
from pathlib import Path

from lrsearch.reporting.report.content import Report
from lrsearch.reporting.report.html import write_html
from lrsearch.reporting.report.markdown import write_markdown

REPORT_FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "html": write_html,
    "md": write_markdown,
}
"""By name, what writes a report to a path."""
