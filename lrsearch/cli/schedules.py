"""`lrsearch schedules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrsearch.errors import LrsearchError


def schedules(
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Draw all families into a page.")
    ] = None,
) -> None:
    """List the families: parameters, domains, when to use them, what speaks against them."""
    if plot is None:
        _print_families()
        return
    from lrsearch.reporting import gallery

    try:
        plot.write_text(gallery().to_html(), encoding="utf-8")
    except OSError as error:
        raise LrsearchError(f"cannot write {plot}: {error.strerror}") from None
    typer.echo(f"drawn: {plot}")


def _print_families() -> None:
    from rich.console import Console
    from rich.table import Table

    from lrsearch.schedules import families, format_value

    console = Console(highlight=False)
    for family in families.values():
        summary = (family.__doc__ or "").splitlines()[0].partition(": ")[2]
        console.print(f"[bold]{family.name}[/]: {summary}")
        table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
        table.add_row("use it when", family.use_when)
        table.add_row("drawback", family.drawback)
        if family.has_own_warmup:
            table.add_row("warmup", "none: it brings its own rise")
        for name, parameter in family.parameters().items():
            only = " = ".join(map(str, parameter.only_if)) if parameter.only_if else ""
            only = f", only if {only}" if only else ""
            table.add_row(
                name, f"{parameter.domain}{only} (default {format_value(parameter.default)})"
            )
        console.print(table)
        console.print()
