"""The command line. The only room that prints or exits."""

import sys

import typer

from lrsearch.cli import (
    before,
    compare,
    confirm,
    dashboard,
    export,
    launch,
    report,
    schedules,
    status,
    train,
    work,
)
from lrsearch.errors import LrsearchError

app = typer.Typer(
    name="lrsearch",
    help="Search learning-rate schedules: which one, and with which parameters?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(before.find_lr)
app.command()(before.diagnose)
app.command()(launch.launch)
app.command()(launch.resume)
app.command()(work.work)
app.command()(status.status)
app.command()(status.stop)
app.command()(confirm.confirm)
app.command()(compare.compare)
app.command()(export.export)
app.command()(train.train)
app.command()(report.report)
app.command()(schedules.schedules)
app.command()(dashboard.dashboard)


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit status 1."""
    try:
        app(prog_name="lrsearch")
    except LrsearchError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
