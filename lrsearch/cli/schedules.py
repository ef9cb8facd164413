"""`lrsearch schedules`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import DEFAULT_STORAGE, StorageOption, StudyOption, opened
from lrsearch.cli.output import ForceOption, check_output, writing
from lrsearch.errors import LrsearchError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from lrsearch.schedules import Line, Schedule, Unit


def schedules(
    drawn: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCHEDULE]...",
            help="What to draw over each other: a file that `lrsearch export --format json` wrote, "
            "the number of a trial, or a family with parameters, such as "
            "cosine:base_lr=0.3,min_factor=0.1,warmup=linear,warmup.fraction=0.05.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Draw into a page: all families, if none is named."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Updates of a run; a trial's are its own. [default: 1000, or a file's own]"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Draw by epochs, of which a run has so many; a trial or a file its own."
        ),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    study: StudyOption = None,
    force: ForceOption = False,
) -> None:
    """List the families: parameters, domains, when to use them, what speaks against them.

    Or draw them, or any schedules: `lrsearch schedules cosine step:step_size=0.1 best.json 12
    --plot curves.html`.
    """
    if plot is None:
        if drawn:
            raise LrsearchError("to draw schedules, say into which page: --plot FILE.html")
        _print_families()
        return
    check_output(plot, [".html"], force=force)
    if drawn:
        page = _curves(drawn, steps, epochs, storage, study)
    else:
        from lrsearch.reporting import gallery

        page = gallery()
    with writing(plot):
        plot.write_text(page.to_html(), encoding="utf-8")


def _curves(
    drawn: list[str], steps: int | None, epochs: int | None, storage: str, study: str | None
) -> Figure:
    """Draw the schedules that the command names over each other."""
    from lrsearch.export import load_run
    from lrsearch.schedules import Clock, plot

    by: Unit = "updates" if epochs is None else "epochs"
    lines: dict[str, Line] = {}
    for text in drawn:
        if text.isdecimal():
            with opened(storage, study) as found:
                trial = found.record(int(text))
            if trial.schedule is None:
                raise LrsearchError(f"trial {text} has no schedule yet; wait until it has begun")
            name = f"trial {text}: {trial.family}"
            lines[name] = trial.run_clock.line(trial.schedule, by, trial.losses)
            continue
        of_file = text.endswith(".json") or Path(text).is_file()
        schedule, clock = load_run(text) if of_file else (_parsed(text), None)
        if clock is None:
            clock = Clock(steps or 1000, epochs or 1).prepended(schedule)
        elif steps is not None:
            clock = clock.scaled(steps)
        lines[text] = clock.line(schedule, by)
    return plot(lines, by)


def _parsed(text: str) -> Schedule:
    """Return the schedule that `family:name=value,…` means; lists are separated by `/`."""
    from lrsearch.schedules import Schedule

    name, _, rest = text.partition(":")
    data: dict[str, Any] = {"schedule": name, "base_lr": 0.1}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise LrsearchError(f"{text!r}: {pair!r} is no name=value")
        if key == "base_lr":
            data[key] = _value(value)
        elif key == "warmup":
            data.setdefault("warmup", {})["shape"] = value
        elif key.startswith("warmup."):
            data.setdefault("warmup", {})[key.removeprefix("warmup.")] = _value(value)
        else:
            data.setdefault("params", {})[key] = _value(value)
    return Schedule.from_dict(data)


def _value(text: str) -> Any:
    """Return a number, true or false, a list of numbers, or else the word itself."""
    if "/" in text:
        return [_value(part) for part in text.split("/")]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


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
