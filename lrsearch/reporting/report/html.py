"""HTML: one file with everything in it, Plotly's script too; it asks no network for anything."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.graph_objects import Figure
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from lrsearch.reporting.report.page import Report, Section
from lrsearch.reporting.text import Table

_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}


def write_html(report: Report, path: Path) -> None:
    """Write a page that follows the reader's light or dark, and fits a phone."""
    page = Template(
        files("lrsearch.reporting.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    text = page.substitute(
        title=escape(report.title),
        lead=escape(report.lead),
        plotly=get_plotlyjs() if report.figures else "",
        sections="\n".join(map(_section, report.sections)),
    )
    path.write_text(text, encoding="utf-8")


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"] if section.title else []
    if len(section.lines) > 1:
        lines = "".join(f"<li>{escape(line)}</li>" for line in section.lines)
        parts.append(f'<ul class="lines">{lines}</ul>')
    else:
        parts += [f"<p>{escape(line)}</p>" for line in section.lines]
    parts += [
        _figure(name, drawn, section.captions.get(name, ""))
        for name, drawn in section.figures.items()
    ]
    parts += [_table(table) for table in section.tables]
    parts += [f"<pre>{escape(section.code)}</pre>"] if section.code else []
    return "\n".join(parts)


def _figure(name: str, drawn: Figure, caption: str) -> str:
    shown = to_html(
        drawn,
        config=_CONFIG,
        include_plotlyjs=False,
        full_html=False,
        default_height="480px",
        div_id=f"figure-{escape(name)}",
    )
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure id="{escape(name)}">{shown}{below}</figure>'


def _table(table: Table) -> str:
    if not table.rows:
        return f"<p>{'There is none yet.' if table.long else 'None is complete.'}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "\n".join(f"<tr>{_row(table.head, row)}</tr>" for row in table.rows)
    head = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    kind = "wide long" if table.long else "wide"
    return f'<div class="{kind}"><table>{head}<tbody>{rows}</tbody></table></div>'


def _row(head: Sequence[str], row: Sequence[str]) -> str:
    """Return a row's cells, each with its column's name: a phone shows them below each other."""
    return "".join(
        (f'<td data-name="{escape(name)}">' if name else "<td>") + f"{escape(cell)}</td>"
        for name, cell in zip(head, row, strict=True)
    )
