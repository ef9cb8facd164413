"""A study as a report: one self-contained page, or Markdown with pictures beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from plotly.graph_objects import Figure

from lrsearch.reporting.figures.files import write_pictures
from lrsearch.reporting.report.html import write_html
from lrsearch.reporting.report.markdown import write_markdown
from lrsearch.reporting.report.page import Report, Section

REPORT_FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "html": write_html,
    "md": write_markdown,
}
"""By name, what writes a report to a path."""


def write_page(path: Path, report: Report) -> None:
    """Write a page as HTML, or its first figure as PNG, by the path's ending.

    Raises:
        OSError: if the file cannot be written.
        LrsearchError: if a picture finds no browser to draw it.
    """
    if path.suffix == ".png":
        write_pictures(list(report.figures.values())[:1], [path])
    else:
        write_html(report, path)


def write_figures(path: Path, title: str, lines: Sequence[str], figures: Sequence[Figure]) -> None:
    """Write a page with a title, lines of text and figures; see `write_page`."""
    named = {str(index): drawn for index, drawn in enumerate(figures, 1)}
    write_page(path, Report(title, "", [Section("", lines=lines, figures=named)]))
