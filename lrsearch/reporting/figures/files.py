"""Figures as pictures, which a browser draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plotly.graph_objects import Figure
from plotly.io import write_images

from lrsearch.errors import LrsearchError


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
