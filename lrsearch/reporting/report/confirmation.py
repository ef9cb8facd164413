"""The pages of a confirmation and of compared families; the first is part of a report too."""

from __future__ import annotations

from collections.abc import Sequence

from lrsearch.evaluation import Confirmation, FamilyResult, confirmed_rows, summarize
from lrsearch.reporting.figures.confirmed import confirmed
from lrsearch.reporting.report.page import Report, Section
from lrsearch.reporting.text import Table, parameters
from lrsearch.schedules import format_value

_CAPTION = (
    "All were trained on the same seeds, which no search has seen. Above: what each came to. "
    "Below: how far each lies behind the best, seed by seed; an interval that reaches 0 says that "
    "the two cannot be told apart."
)


def confirmation_page(name: str, confirmation: Confirmation) -> Report:
    """Return the page of a confirmation."""
    lead, *said = summarize(confirmation)
    return Report(name, f"{_best(confirmation)}{lead}.", [confirmed_section(confirmation, said)])


def comparison_page(
    name: str, confirmation: Confirmation, results: Sequence[FamilyResult]
) -> Report:
    """Return the page of compared families."""
    page = confirmation_page(name, confirmation)
    rows = [
        (
            result.family,
            "-" if result.epochs is None else f"{result.epochs:.1f}",
            f"{result.decades:.2f}",
            f"{result.infeasible:.0%}",
        )
        for result in results
    ]
    head = ("family", "epochs to 99 %", "decades of good base_lr", "infeasible in the search")
    searched = Section("How each family was to search", tables=[Table(head, rows)])
    return Report(page.title, page.lead, [*page.sections, searched])


def confirmed_section(confirmation: Confirmation, said: Sequence[str] | None = None) -> Section:
    """Return a confirmation as a section: sentences, the figure, the table with all parameters."""
    schedules = {entry.name: entry.schedule for entry in confirmation.entries}
    rows = [(*row, parameters(schedules[row[0]])) for row in confirmed_rows(confirmation)]
    metric = f"{confirmation.metric} ± 95 %"
    head = ("schedule", "base_lr", metric, "sd", "behind ± 95 %", "warmup and parameters")
    return Section(
        "Confirmed on fresh seeds",
        lines=summarize(confirmation) if said is None else said,
        figures={"confirmed": confirmed(confirmation)},
        captions={"confirmed": _CAPTION},
        tables=[Table(head, rows)],
    )


def _best(confirmation: Confirmation) -> str:
    """Return the winner in a sentence."""
    if confirmation.winner is None:
        return ""
    row = next(row for row in confirmed_rows(confirmation) if row[0] == confirmation.winner.name)
    rate = format_value(confirmation.winner.schedule.base_lr)
    return (
        f"The best is {row[0]} with base_lr {rate}: {confirmation.metric} {row[2]} on "
        f"{len(confirmation.seeds)} fresh seeds. "
    )
