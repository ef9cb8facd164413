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
    from lrsearch.figures import gallery

    try:
        plot.write_text(gallery().to_html(), encoding="utf-8")
    except OSError as error:
        raise LrsearchError(f"cannot write {plot}: {error.strerror}") from None
    typer.echo(f"drawn: {plot}")


def _print_families() -> None:
    from rich.console import Console
    from rich.table import Table

    from lrsearch.schedules import families

    console = Console(highlight=False)
    for family in families.values():
        summary = (family.__doc__ or "").splitlines()[0].partition(": ")[2]
        console.print(f"[bold]{family.name}[/]: {summary}")
        console.print(f"  use it when {family.use_when}", markup=False)
        console.print(f"  but it {family.drawback}", markup=False)
        if family.own_rise:
            console.print("  brings its own rise: takes no warmup", markup=False)
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for name, parameter in family.parameters().items():
            only = " = ".join(map(str, parameter.only_if)) if parameter.only_if else ""
            only = f"only if {only}; " if only else ""
            default = (
                ", ".join(f"{value:g}" for value in parameter.default)
                if isinstance(parameter.default, tuple)
                else str(parameter.default)
            )
            table.add_row(
                f"{family.name}.{name}",
                str(parameter.domain),
                f"{only}default {default}; {parameter.rule()}",
            )
        console.print(table)
        console.print()
