"""Markdown, for a pull request: the report's text, and its figures as pictures beside it."""

from __future__ import annotations

from pathlib import Path

from lrsearch.reporting.figures.files import write_pictures
from lrsearch.reporting.report.content import Report
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
    images = [
        f"![{markdown_text(name)}](<{picture.relative_to(path.parent).as_posix()}>)"
        for name, picture in pictures.items()
    ]
    parts = [
        f"# {markdown_text(report.title)}",
        markdown_text(report.lead),
        "## Best schedules",
        markdown_table(report.best) if report.best.rows else "None is complete.",
        "## Figures",
        *images,
        "## What was trained, pruned and saved",
        markdown_table(report.spent),
        "## Study file",
        markdown_code(report.spec),
        "## Again",
        markdown_code(report.commands),
        "## Where it comes from",
        markdown_table(report.origin),
    ]
    return "\n\n".join(parts) + "\n"
