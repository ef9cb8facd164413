"""What the terminal shows of a study: live while it runs, its status, its result."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrsearch.errors import StudyError, printable
from lrsearch.schedules import format_value
from lrsearch.storage import EpochMetrics, masked, study_names
from lrsearch.study import Answer, RunningTrial, Status, no_result, read_status, why_ended

if TYPE_CHECKING:
    from lrsearch.study import Ended, Study

_WIDTH = 60
_CURVE = 15
"""The width of a running trial's curve: of its last points, several an epoch."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN_TOGETHER = 4
"""Trials of a worker that are shown, of those that it trains together."""
_NUMBERS = ("trial", "epoch", "loss", "lr", "seen", "base_lr", "value")


class LiveView:
    """Shows a study while it runs: redrawn in a terminal, one line per change elsewhere."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False)
        self.started = time.monotonic()
        self.first_epochs: int | None = None
        self.last_line = ""

    def __enter__(self) -> Self:
        where = printable(masked(self.study.storage.engine.url))
        self.console.print(
            Text.assemble("study ", (printable(self.study.name), "bold"), f" in {where}"),
            highlight=False,
        )
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.show()
        self.live.stop()

    def show(self, where: str = "") -> None:
        """Show where the study stands now, and where its workers are if that is to be told."""
        from lrsearch.evaluation import find_answer

        status = read_status(self.study)
        if self.first_epochs is None:
            self.first_epochs = status.epochs
        left = self._time_left(status)
        if self.console.is_terminal:
            panel = _panel(status, find_answer(self.study), left)
            self.live.update(
                Group(panel, Text(where, style="dim")) if where else panel, refresh=True
            )
        elif (line := " · ".join(filter(None, [_counts(status), where]))) != self.last_line:
            self.last_line = line
            answer = find_answer(self.study)  # twice a second would be for nothing
            best = f"; best {_best(answer)}" if answer else ""
            self.console.print(f"{line}{best}{left}", highlight=False, soft_wrap=True, markup=False)

    def _time_left(self, status: Status) -> str:
        if status.seconds_left == 0:
            return "; its time is up"
        done = status.epochs - (self.first_epochs or 0)
        left = status.epochs_left
        if done <= 0 or not left:
            return ""
        seconds = (time.monotonic() - self.started) / done * left
        if status.seconds_left is not None:
            seconds = min(seconds, status.seconds_left)
        minutes, seconds = divmod(round(seconds), 60)
        return f"; about {minutes}:{seconds:02} left"


def print_status(status: Status, answer: Answer | None) -> None:
    """Print where a study stands, and its answer."""
    line = printable(f"study {status.study} in {status.storage}")
    Console().print(line, highlight=False, markup=False)
    Console().print(_panel(status, answer, ""))


def print_result(study: Study, url: str) -> None:
    """Print the answer of a study and what to do next.

    Raises:
        StudyError: if there is none.
    """
    from lrsearch.evaluation import find_answer
    from lrsearch.export import Exported

    console = Console(highlight=False, soft_wrap=True)
    answer = find_answer(study)
    if answer is None:
        raise StudyError(no_result(read_status(study)))
    ended = why_ended(study)
    if ended.why:
        console.print(f"\nThe search ended: {ended.why}.")
    console.print(f"\n[bold]The best schedule[/]: trial {answer.trial.number}, {answer.summary}")
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in Exported.of(study, answer).facts:
        table.add_row(name, value)
    console.print(table)
    print_next(study, url, answer, ended)


def print_next(study: Study, url: str, answer: Answer, ended: Ended) -> None:
    """Print what to do next with a search that has an answer."""
    console = Console(highlight=False, soft_wrap=True)
    several = len(study_names(study.storage)) > 1
    name = f" --study {shlex.quote(printable(study.name))}" if several else ""
    where = f"--storage {shlex.quote(printable(masked(url)))}{name}"
    confirm = (f"lrsearch confirm {where}", "train the best again on fresh seeds, and test them")
    commands = [
        (
            f"lrsearch export {where} -o best.json",
            f"take trial {answer.trial.number} along (also --format python, keras, optax, …)",
        ),
        (f"lrsearch dashboard {where}", "look at all trials"),
    ]
    if ended.options is not None:
        commands.insert(1, (f"lrsearch resume {where} {ended.options}".rstrip(), "search on"))
    if answer.confirmed is None or answer.leads_now is not None:
        commands.insert(0, confirm)
    console.print("\n[bold]Next[/]")
    for command, what in commands:
        console.print(f"  {command}", markup=False)
        console.print(f"      {what}", style="dim", markup=False)


def progress_line(row: EpochMetrics, epochs: int) -> str:
    """Return an epoch in a line: where it stands, the rate, losses and accuracies."""
    shown = {
        name: value
        for name, value in row.metrics.items()
        if name.startswith(("train_", "val_", "test_"))
    } or row.metrics
    return f"epoch {row.epoch}/{epochs}  lr {row.lr:.4g}  {_values(shown)}"


def curve_lines(row: EpochMetrics) -> list[str]:
    """Return how an epoch went within, a line for each point that is known."""
    return [f"  update {step}  {_values(metrics)}" for step, metrics in row.curve]


def _values(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {format_value(value)}" for name, value in metrics.items())


def _panel(status: Status, answer: Answer | None, left: str) -> RenderableType:
    parts: list[RenderableType] = [
        Text(_counts(status) + left),
        Padding(ProgressBar(total=1.0, completed=status.share, width=_WIDTH), 0),
    ]
    if answer and answer.trial.schedule:
        parts.append(Text(f"best {_best(answer)}", style="bold"))
        parts.append(
            Text(sparkline(answer.trial.schedule.curve(_WIDTH).tolist(), _WIDTH), style="cyan")
        )
        if answer.leads_now is not None:
            later = f"trial {answer.leads_now} leads the search now and is not confirmed"
            parts.append(Text(later, style="dim"))
    if status.unstable:
        shown = ", ".join(map(str, status.unstable[:10])) + (" …" if status.unstable[10:] else "")
        parts.append(Text(f"unstable but recovered: trials {shown}", style="dim"))
    if status.leading or status.latest:
        parts.append(Padding(_trials(status), (1, 0, 0, 0)))
    if status.workers:
        parts.append(Padding(_workers(status), (1, 0, 0, 0)))
    return Group(*parts)


def _trials(status: Status) -> Table:
    """Return the best trials and the last, one below the other."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("", "trial", "schedule", "base_lr", "value", "outcome"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for name, trials in (("best", status.leading), ("last", status.latest)):
        for index, trial in enumerate(trials):
            values = (trial.trial, trial.schedule, trial.base_lr, trial.value, trial.outcome)
            table.add_row("" if index else name, *map(_shown, values))
    return table


def _workers(status: Status) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("worker", "device", "trial", "schedule", "epoch", "loss", "lr", "seen"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    shown = [trial for worker in status.workers for trial in worker.trials]
    curves = list(dict.fromkeys(name for trial in shown for name in trial.curves))
    for name in curves:
        table.add_column(printable(name.replace("_", " ")))
    for worker in status.workers:
        style = "" if worker.alive else "dim"
        ago = max(0.0, time.time() - worker.last_seen)
        seen = f"{ago:.0f} s ago" if worker.alive else f"silent for {ago:.0f} s"
        about = (f"{worker.host}:{worker.pid}", worker.device)
        for trial in worker.trials[:_SHOWN_TOGETHER]:
            drawn = (sparkline(trial.curves.get(name, []), _CURVE) for name in curves)
            table.add_row(*about, *_running(trial), seen, *drawn, style=style)
            about, seen = ("", ""), ""  # once for each worker
        if not worker.trials:
            table.add_row(*about, *"-----", seen, style=style)
        if (more := len(worker.trials) - _SHOWN_TOGETHER) > 0:
            table.add_row("", "", f"+ {more}", "more together", style="dim")
    return table


def _running(trial: RunningTrial) -> tuple[str, ...]:
    epoch = f"{trial.epoch}/{trial.horizon}"
    if trial.slow is not None:
        epoch += f" (slow: {trial.slow:.0f} s)"
    return tuple(map(_shown, (trial.trial, trial.schedule, epoch, trial.loss, trial.lr)))


def _shown(value: float | str | None) -> str:
    return "-" if value is None else format_value(value)


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a curve from 0 on as a line of blocks, of at most `width` of its values."""
    every = max(1, -(-len(values) // width))
    shown = values[::-every][::-1]  # the last one among them
    high = max(shown, default=0.0) or 1.0
    return "".join(_BLOCKS[max(0, round(v / high * (len(_BLOCKS) - 1)))] for v in shown)


def _counts(status: Status) -> str:
    counts = {
        "running": status.running,
        "interrupted": status.interrupted,
        "pruned": status.pruned,
        "diverged": status.diverged,
        "failed to train": status.failed_to_train,
        "failed": status.failed,
        "duplicates": status.duplicates,
    }
    shown = "".join(f" · {count} {name}" for name, count in counts.items() if count)
    of = f"/{status.epochs_target}" if status.epochs_target else ""
    epochs = f" · {status.epochs}{of} epochs" if status.epochs else ""
    return f"{status.finished}/{status.target} finished{shown}{epochs}"


def _best(answer: Answer) -> str:
    return f"{answer.summary} (trial {answer.trial.number}: {answer.trial.family})"
