"""What the terminal shows of confirmed schedules and compared families."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lrsearch.evaluation import Confirmation, FamilyResult, confirmed_rows, summarize
from lrsearch.schedules import format_value


def print_confirmation(confirmation: Confirmation) -> None:
    """Print a confirmation: a table, then sentences."""
    console = Console(highlight=False, soft_wrap=True)
    table = _table(("schedule", "base_lr", f"{confirmation.metric} ± 95 %", "sd", "behind ± 95 %"))
    for row in confirmed_rows(confirmation):
        table.add_row(*row)
    console.print(f"\n[bold]Confirmed[/] on {len(confirmation.seeds)} seeds, the same for all")
    console.print(table)
    for line in summarize(confirmation):
        console.print(f"  {line}", markup=False)


def print_comparison(confirmation: Confirmation, results: Sequence[FamilyResult]) -> None:
    """Print what came of each family: a table, then sentences."""
    console = Console(highlight=False, soft_wrap=True)
    value = f"{confirmation.metric} ± 95 %"
    table = _table(("family", value, "base_lr", "to 99 %", "good base_lr", "infeasible"))
    of = {row[0]: row for row in confirmed_rows(confirmation)}
    for result in results:
        table.add_row(
            result.family,
            of[result.family][2],
            of[result.family][1],
            "-" if result.epochs is None else f"{result.epochs:.1f} epochs",
            f"{result.decades:.2f} decades",
            f"{result.infeasible:.0%}",
        )
    console.print(f"\n[bold]Families[/], the best of each on {len(confirmation.seeds)} fresh seeds")
    console.print(table)
    for result in results:
        shown = ", ".join(f"{_own(name)} {format_value(v)}" for name, v in result.params.items())
        console.print(f"  {result.family}: {shown}", markup=False, style="dim")
    for line in summarize(confirmation):
        console.print(f"  {line}", markup=False)


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _own(name: str) -> str:
    return name if name.startswith("task.") else name.rpartition(".")[2]
