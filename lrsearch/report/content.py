"""What a report says, in whatever format."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from plotly.graph_objects import Figure

from lrsearch.figures import StudyData, read_data, read_layout
from lrsearch.storage import masked
from lrsearch.study import DATA, Study, recovered
from lrsearch.summary import Table, best_schedules, commands, spec_toml, spent

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
    told = f"Trials: {ended}; {epochs} epochs trained, {saved} saved by pruning. "
    if unstable := [str(trial.number) for trial in data.trials if recovered(trial.optuna)]:
        told += f"Unstable but recovered: trials {', '.join(unstable)}. "
    if not data.ranked:
        return told + "No trial is complete, so there is no best schedule."
    best = data.ranked[0]
    return told + (
        f"The best schedule: {best.family} with base_lr {best.base_lr:.4g} (trial {best.number}). "
        f"Its {data.metric} of {best.optuna.values[0]:.4f} is on the validation data that chose it."
    )


def _origin(study: Study, url: str) -> list[tuple[str, str]]:
    """Return where the numbers come from; versions are of the machine that writes the report."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return [
        ("written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("storage", url),
        ("data", study.optuna.user_attrs.get(DATA, "the task gives no checksum of its data")),
        ("versions here", ", ".join([*found, f"Python {platform.python_version()}"])),
        ("machine here", platform.platform()),
    ]
