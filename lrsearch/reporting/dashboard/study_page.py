"""What a study's own page shows, stored with the study: our figures and a note."""

from __future__ import annotations

from optuna_dashboard import save_note

from lrsearch.reporting.figures.data import StudyData, read_data
from lrsearch.reporting.figures.layout import read_layout
from lrsearch.reporting.report.confirmation import confirmed_section
from lrsearch.reporting.summary import best_schedules, commands, in_a_sentence, spec_toml
from lrsearch.reporting.text import markdown_code, markdown_table, markdown_text
from lrsearch.storage import masked, plot_attribute, read_note
from lrsearch.study import Study

_YOURS = "\n\n---\n*lrsearch writes what stands above this line, and keeps what you write below.*\n"
_ITS_OWN = ("epochs", "timeline", "importance")
"""Figures of which optuna-dashboard has its own: two of a kind that differ would only confuse."""
_NOTHING = '{"data": [], "layout": {"xaxis": {"visible": false}, "yaxis": {"visible": false}}}'


def refresh(study: Study) -> None:
    """Draw the study's figures and write its note anew, as of now.

    Raises:
        LrsearchError: if the layout of figures cannot be used.
    """
    layout = {name: draw for name, draw in read_layout().items() if name not in _ITS_OWN}
    data = read_data(study)
    prefix = plot_attribute("lrsearch:")
    texts = {f"{prefix}{name}:0": draw(data).to_json() for name, draw in layout.items()}
    stored = study.storage.get_study_system_attrs(study.study_id)
    texts |= {key: _NOTHING for key in stored if key.startswith(prefix) and key not in texts}
    for key, text in texts.items():
        # one attribute for a whole figure, where `save_plotly_graph_object` writes one for every
        # 2 kB: a poll sees all of it or nothing, and looks through all attributes for each trial
        if stored.get(key) != text:
            study.storage.set_study_system_attr(study.study_id, key, text)
    written = read_note(study.optuna)
    note = _note(data, masked(study.storage.engine.url)) + _YOURS + _added(written)
    if note != written:
        save_note(study.optuna, note)


def _added(written: str) -> str:
    """Return what a person has written into the note."""
    _, line, below = written.partition(_YOURS)
    return below if line else written


def _note(data: StudyData, url: str) -> str:
    best = best_schedules(data)
    parts = [markdown_text(in_a_sentence(data))]
    if data.confirmation:
        section = confirmed_section(data.confirmation)
        parts += [f"## {section.title}", *map(markdown_table, section.tables)]
    parts += [
        "## Best schedules",
        markdown_table(best) if best.rows else "None is complete yet.",
        markdown_code(commands(data, url)),
        "## Study file",
        markdown_code(spec_toml(data.spec)),
    ]
    return "\n\n".join(parts)
