"""The command line. The only package that prints or exits."""

import gc
import sys
from typing import Annotated

import typer

from lrsearch.cli import (
    compare,
    confirm,
    dashboard,
    diagnosis,
    export,
    launch,
    report,
    schedules,
    serve,
    status,
    train,
    trials,
    work,
)
from lrsearch.errors import LrsearchError, printable

app = typer.Typer(
    name="lrsearch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lrsearch {version('lrsearch')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Search learning-rate schedules: which one, and with which parameters?"""


app.command()(diagnosis.find_lr)
app.command()(diagnosis.diagnose)
app.command()(launch.launch)
app.command()(launch.resume)
app.command()(work.work)
app.command()(status.status)
app.command()(status.stop)
app.command()(trials.trials)
app.command()(confirm.confirm)
app.command()(compare.compare)
app.command()(export.export)
app.command()(train.train)
app.command()(report.report)
app.command()(schedules.schedules)
app.command()(dashboard.dashboard)
app.command()(serve.serve)


_LOOK = ("status", "trials", "export", "report", "schedules")
"""Commands that look and end. One that trains leaves garbage that holds memory."""


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit status 1."""
    looks = sys.argv[1:] and sys.argv[1] in _LOOK
    if looks:
        # what they import and read they keep: to look through it for garbage, in between and at
        # the end, takes a quarter of their time
        gc.disable()
    try:
        app(prog_name="lrsearch")
    except LrsearchError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        sys.exit(1)
    except RecursionError:
        typer.echo("error: what was read is nested too deeply", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if looks:
            gc.freeze()
            gc.enable()
