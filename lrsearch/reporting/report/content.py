"""What a report says, in whatever format."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from plotly.graph_objects import Figure

from lrsearch.reporting.figures.data import StudyData, read_data
from lrsearch.reporting.figures.layout import read_layout
from lrsearch.reporting.summary import best_schedules, commands, spec_toml, spent
from lrsearch.reporting.text import Table
from lrsearch.storage import masked
from lrsearch.study import Best, Study

_PACKAGES = ("lrsearch", "torch", "torchvision", "optuna", "numpy", "plotly")


@dataclass(frozen=True)
class Report:
    """All that a report says; nothing in it is escaped yet."""

    title: str
    lead: str
    figures: Mapping[str, Figure]
    best: Table
    spent: Table
    spec: str
    origin: Table
    commands: str


def make_report(study: Study) -> Report:
    """Read a study and put its report together.

    Raises:
        LrsearchError: if the layout of figures cannot be used.
    """
    layout = read_layout()
    data = read_data(study)
    url = masked(study.storage.engine.url)
    return Report(
        title=study.name,
        lead=_lead(data),
        figures={name: draw(data) for name, draw in layout.items()},
        best=best_schedules(data),
        spent=spent(data),
        spec=spec_toml(study.spec),
        origin=Table(("", ""), [*_origin(study, url)]),
        commands=commands(data, url),
    )


def _lead(data: StudyData) -> str:
    """Return the report in a few sentences."""
    count = Counter(trial.outcome for trial in data.trials)
    ended = ", ".join(f"{n} {outcome}" for outcome, n in count.most_common()) or "none yet"
    epochs = sum(len(trial.epochs) for trial in data.trials)
    saved = sum(map(data.saved, data.trials))
    lead = f"Trials: {ended}; {epochs} epochs trained, {saved} saved by pruning. "
    if unstable := [str(trial.number) for trial in data.trials if trial.unstable]:
        lead += f"Unstable but recovered: trials {', '.join(unstable)}. "
    if not data.ranked:
        return lead + "No trial is complete, so there is no best schedule."
    best = data.ranked[0]
    return lead + (
        f"The best schedule: {best.family} with base_lr {best.base_lr:.4g} (trial {best.number}). "
        f"{data.metric}, on the validation data that chose it: "
        f"{Best.of(best, data.trials).summary}."
    )


def _origin(study: Study, url: str) -> list[tuple[str, str]]:
    """Return where the numbers come from; versions are of the machine that writes the report."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return [
        ("written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("storage", url),
        ("data", study.data_checksum or "the task gives no checksum of its data"),
        ("versions here", ", ".join([*versions, f"Python {platform.python_version()}"])),
        ("machine here", platform.platform()),
    ]
