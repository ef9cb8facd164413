"""HTML: one file with everything in it, Plotly's script too; it asks no network for anything."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.io import to_html
from plotly.offline import get_plotlyjs

from lrsearch.reporting.report.content import Report
from lrsearch.reporting.text import Table

_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}


def write_html(report: Report, path: Path) -> None:
    """Write the report as one page that follows the reader's light or dark."""
    page = Template(
        files("lrsearch.reporting.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    sections = "\n".join(
        f'<section id="{escape(name)}">'
        + to_html(
            figure,
            config=_CONFIG,
            include_plotlyjs=False,
            full_html=False,
            default_height="480px",
            div_id=f"figure-{escape(name)}",
        )
        + "</section>"
        for name, figure in report.figures.items()
    )
    text = page.substitute(
        title=escape(report.title),
        lead=escape(report.lead),
        plotly=get_plotlyjs(),
        figures=sections,
        best=_table(report.best) if report.best.rows else "<p>None is complete.</p>",
        spent=_table(report.spent),
        spec=escape(report.spec),
        origin=_table(report.origin),
        commands=escape(report.commands),
    )
    path.write_text(text, encoding="utf-8")


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'
