"""A study as a report: one self-contained page, or Markdown with pictures beside it."""

from collections.abc import Callable
from pathlib import Path

from lrsearch.report.content import Report, make_report
from lrsearch.report.html import write_html
from lrsearch.report.markdown import write_markdown

FORMATS: dict[str, Callable[[Report, Path], None]] = {"html": write_html, "md": write_markdown}
"""By name, what writes a report to a path."""

__all__ = ["FORMATS", "Report", "make_report"]
