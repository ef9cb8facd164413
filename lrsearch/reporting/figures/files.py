"""Figures as files: a page that opens without a network, or pictures that a browser draws."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from plotly.graph_objects import Figure
from plotly.io import to_html, write_images

from lrsearch.errors import LrsearchError

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} · lrsearch</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; max-width: 1100px; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; }}
</style>
</head>
<body>
<h1>{title}</h1>
{text}
{figures}
</body>
</html>
"""


def check_suffix(path: Path | None) -> None:
    """Refuse a file that is neither a page nor a picture.

    Raises:
        LrsearchError: naming the suffix.
    """
    if path is not None and path.suffix not in (".html", ".png"):
        raise LrsearchError(f"{path} must end in .html or .png, but ends in {path.suffix!r}")


def write_figures(path: Path, title: str, lines: list[str], figures: list[Figure]) -> None:
    """Write a page with a title, lines of text and figures; or the first figure as PNG.

    Raises:
        LrsearchError: if the file cannot be written, or a picture finds no browser to draw it.
    """
    try:
        if path.suffix == ".png":
            write_pictures(figures[:1], [path])
            return
        drawn = [
            to_html(figure, include_plotlyjs=index == 0, full_html=False, default_height="460px")
            for index, figure in enumerate(figures)
        ]
        text = "\n".join(f"<p>{escape(line)}</p>" for line in lines)
        page = _PAGE.format(title=escape(title), text=text, figures="\n".join(drawn))
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise LrsearchError(f"cannot write {path}: {error.strerror}") from None


def write_pictures(figures: Sequence[Figure], paths: Sequence[Path]) -> None:
    """Write figures as PNG, on white, whatever page they will stand on.

    Raises:
        LrsearchError: if there is nothing to draw them with.
    """
    try:
        from choreographer.errors import ChromeNotFoundError
    except ImportError:
        raise LrsearchError(
            "pictures need kaleido: pip install 'lrsearch[pictures]', or write HTML"
        ) from None
    on_white = [Figure(figure).update_layout(paper_bgcolor="white") for figure in figures]
    try:
        write_images(on_white, list(paths), width=900, height=460, scale=1.5)
    except ChromeNotFoundError:
        raise LrsearchError(
            "pictures need Chrome or Chromium, and none was found; install one, name it in "
            "BROWSER_PATH, or write HTML"
        ) from None
