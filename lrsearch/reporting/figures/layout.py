"""Which figures a page shows, in which order: all of ours, or what a file that people edit says."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

from plotly.graph_objects import Figure

from lrsearch.errors import LrsearchError, nearest
from lrsearch.reporting.figures.answer import answer
from lrsearch.reporting.figures.base_lr import base_lr
from lrsearch.reporting.figures.by_family import by_family
from lrsearch.reporting.figures.data import StudyData
from lrsearch.reporting.figures.epochs import epochs
from lrsearch.reporting.figures.importance import importance
from lrsearch.reporting.figures.parallel import parallel
from lrsearch.reporting.figures.progress import progress
from lrsearch.reporting.figures.style import empty, plain
from lrsearch.reporting.figures.timeline import timeline
from lrsearch.reporting.figures.training import training
from lrsearch.reporting.figures.winners import winners
from lrsearch.tasks import load_attribute

StudyFigure = Callable[[StudyData], Figure]

FIGURES: dict[str, StudyFigure] = {
    "answer": answer,
    "winners": winners,
    "by_family": by_family,
    "base_lr": base_lr,
    "training": training,
    "progress": progress,
    "epochs": epochs,
    "parallel": parallel,
    "importance": importance,
    "timeline": timeline,
}
"""By the name that a layout gives it, each figure of a study, in the usual order."""

CAPTIONS = {
    "answer": "The rate to train with, over the run; below, what it comes to beside the others: "
    "the mean (large) with its 95 % interval, and each seed (small).",
    "winners": "Do the best agree? Curves that lie together say what matters; where they part, it "
    "matters little.",
    "by_family": "Which family reaches furthest to the good side, and how surely: a narrow box is "
    "a family that is easily tuned.",
    "base_lr": "The best should lie inside the domain, with worse on both sides of it.",
    "training": "How the losses and the metric follow the rate, update by update.",
    "progress": "Whether a longer search would pay: the line is flat where it has found what it "
    "can.",
    "epochs": "Where trials were stopped, and whether the early order is the late one.",
    "parallel": "Where do the best run through? An axis on which they lie together matters.",
    "importance": "Which parameters tell good trials from the others; spend your tuning on these.",
    "timeline": "Whether all workers were busy, and which trials were handed over.",
}
"""By a figure's name, what to see in it."""

LAYOUT = Path("dashboards", "layout.toml")
"""The layout, sought from the working directory; without it pages show all figures."""


def read_layout(path: Path = LAYOUT) -> dict[str, StudyFigure]:
    """Return the figures that pages are to show, by name, in order.

    Raises:
        LrsearchError: if the file is not as it should be, or a figure cannot be had.
    """
    if not path.exists():
        return FIGURES
    try:
        layout = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LrsearchError(f"the layout {path} cannot be read: {error}") from None
    names = layout.pop("figures", None)
    if layout or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise LrsearchError(
            f'{path} must hold one list, figures = ["winners", …], and nothing else'
        )
    for name in names:
        if ":" not in name and name not in FIGURES:
            raise LrsearchError(
                f"{path}: figures has {name!r}; {nearest(name, FIGURES)} or your own as "
                "module:function"
            )
    return {name: FIGURES.get(name) or _own(name) for name in names}


def _own(name: str) -> StudyFigure:
    """Return a user's figure; where it fails a message, since the others are still to be seen."""
    function = load_attribute(name)

    def draw(data: StudyData) -> Figure:
        try:
            return Figure(function(data))
        except Exception as error:
            return empty(plain(name), plain(f"{type(error).__name__}: {error}"))

    return draw
