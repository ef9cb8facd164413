"""Markdown, for a pull request: the report's text, and its figures as pictures beside it."""

from __future__ import annotations

from pathlib import Path

from lrsearch.reporting.figures.files import write_pictures
from lrsearch.reporting.report.page import Report
from lrsearch.reporting.text import markdown_code, markdown_table, markdown_text


def write_markdown(report: Report, path: Path) -> None:
    """Write the report's text, and its figures into the folder `<name>_files` beside it.

    Raises:
        LrsearchError: if there is no browser to draw the pictures with.
    """
    folder = path.with_name(f"{path.stem}_files")
    folder.mkdir(exist_ok=True)
    pictures = {name: folder / f"{name.replace(':', '.')}.png" for name in report.figures}
    write_pictures(list(report.figures.values()), list(pictures.values()))
    path.write_text(_text(report, path, pictures), encoding="utf-8")


def _text(report: Report, path: Path, pictures: dict[str, Path]) -> str:
    parts = [f"# {markdown_text(report.title)}", markdown_text(report.lead)]
    for section in report.sections:
        parts += [f"## {markdown_text(section.title)}"] if section.title else []
        parts += [markdown_text(line) for line in section.lines]
        for name in section.figures:
            place = pictures[name].relative_to(path.parent).as_posix()
            caption = section.captions.get(name, "")
            parts += [f"![{markdown_text(name)}](<{place}>)", markdown_text(caption)]
        parts += [
            markdown_table(table) if table.rows else "None is complete."
            for table in section.tables
            if not table.long
        ]
        parts += [markdown_code(section.code)] if section.code else []
    return "\n\n".join(filter(None, parts)) + "\n"
