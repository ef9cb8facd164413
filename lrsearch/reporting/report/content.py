"""What a report says, in whatever format."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime

from lrsearch.export import Exported
from lrsearch.reporting.figures.data import StudyData, read_data
from lrsearch.reporting.figures.layout import CAPTIONS, read_layout
from lrsearch.reporting.report.confirmation import confirmed_section
from lrsearch.reporting.report.page import Report, Section
from lrsearch.reporting.summary import (
    all_trials,
    best_schedules,
    commands,
    in_a_sentence,
    spec_toml,
    spent,
)
from lrsearch.reporting.text import Table
from lrsearch.storage import masked
from lrsearch.study import Study, installed_versions, recovered

_LISTED = "`lrsearch trials` lists them with every parameter in a column of its own, also as CSV."


def make_report(study: Study, *, still: bool = False) -> Report:
    """Read a study and put its report together; with figures for pictures if `still`.

    Raises:
        LrsearchError: if the layout of figures cannot be used.
    """
    layout = read_layout()
    data = read_data(study, still=still)
    url = masked(study.storage.engine.url)
    figures = {name: draw(data) for name, draw in layout.items()}
    first = {name: figures.pop(name) for name in list(figures) if name == "answer"}
    sections = [Section("", figures=first, captions=CAPTIONS)]
    if data.answer:
        whole = Exported.of(study, data.answer).facts
        sections.append(Section("The whole winner", tables=[Table(("", ""), whole)]))
    if data.confirmation:
        sections.append(confirmed_section(data.confirmation))
    return Report(
        title=study.name,
        lead=in_a_sentence(data),
        sections=[
            *sections,
            Section("Best schedules", tables=[best_schedules(data)]),
            Section("Figures", figures=figures, captions=CAPTIONS),
            Section("What was trained, pruned and saved", [_counts(data)], tables=[spent(data)]),
            Section("All trials", [_LISTED], tables=[all_trials(data)]),
            Section("Study file", code=spec_toml(study.spec)),
            Section("Again", code=commands(data, url)),
            Section("Where it comes from", tables=[Table(("", ""), [*_origin(study, url)])]),
        ],
    )


def _counts(data: StudyData) -> str:
    """Return how trials ended, and what they took."""
    count = Counter(trial.outcome for trial in data.trials)
    ended = ", ".join(f"{n} {outcome}" for outcome, n in count.most_common()) or "none yet"
    epochs = sum(len(trial.epochs) for trial in data.trials)
    saved = sum(map(data.saved, data.trials))
    said = f"Trials: {ended}; {epochs} epochs trained, {saved} saved by pruning."
    if unstable := [str(trial.number) for trial in recovered(data.trials)]:
        said += f" Unstable but recovered: trials {', '.join(unstable)}."
    return said


def _origin(study: Study, url: str) -> list[tuple[str, str]]:
    """Return where the numbers come from; versions are of the machine that writes the report."""
    here = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return [
        ("written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("storage", url),
        ("data", study.data_checksum or "the task gives no checksum of its data"),
        ("versions here", here),
        ("machine here", platform.platform()),
    ]
