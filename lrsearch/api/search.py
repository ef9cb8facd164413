"""A search as a script or a notebook holds it: its answer, figures, report, confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lrsearch import displays
from lrsearch.errors import LrsearchError, StudyError, nearest
from lrsearch.evaluation import (
    Confirmation,
    confirmation_spec,
    find_answer,
    read_answer,
    read_confirmation,
)
from lrsearch.export import FORMATS, Exported, rescaled
from lrsearch.schedules import Schedule
from lrsearch.storage import NoTrialReason, open_storage
from lrsearch.study import (
    Study,
    TrialRecord,
    create_study,
    open_study,
    read_status,
    why_stopped,
)
from lrsearch.tasks import Task, load_task
from lrsearch.worker import Factory, work

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

STORAGE = "sqlite:///lrsearch.db"
"""Where studies live unless told otherwise: where the commands look for them too."""


class Search:
    """A search: what `optimize` returns, or one that is opened with `Search.open`.

    In a notebook it shows its answer as a table.

    Args:
        study: the study.
        url: its storage.
        task: what it trains, where only this process has it.
        device: where it trains.

    Example:
        A study that a command has made, or an earlier session::

            search = lrsearch.Search.open("fashion-mnist-lenet")
            search.schedule.curve(1000)
            search.report("report.html")
    """

    def __init__(
        self, study: Study, url: str, *, task: Task | None = None, device: str = "cpu"
    ) -> None:
        self.study = study
        self.url = url
        self.task = task
        self.device = device

    @classmethod
    def open(cls, name: str | None = None, *, storage: str = STORAGE) -> Self:
        """Open a study that is there; without a name, the only one.

        Raises:
            StudyError: if there is no such study.
        """
        return cls(open_study(open_storage(storage, create=False), name), storage)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    @property
    def optuna(self) -> optuna.Study:
        """The study as Optuna's, for all that Optuna offers."""
        return self.study.optuna

    @property
    def best(self) -> TrialRecord:
        """The confirmed winner, else the best trial by its mean over seeds, with its epochs.

        Raises:
            StudyError: if no trial was trained in full.
        """
        return read_answer(self.study).trial

    @property
    def value(self) -> float:
        """What the best trial came to: the mean of its full runs."""
        value = self.best.value
        assert value is not None
        return value

    @property
    def schedule(self) -> Schedule:
        """The best trial's schedule."""
        schedule = self.best.schedule
        assert schedule is not None
        return schedule

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials, by their numbers."""
        return self.study.records()

    def confirm(self, top: int = 5, seeds: int = 5, against: Sequence[str] = ()) -> Confirmation:
        """Train the best schedules again on fresh seeds, as `lrsearch confirm` does.

        Called again, it goes on where it stopped.

        Args:
            top: how many of the best schedules, at least 1.
            seeds: on how many fresh seeds each, at least 2.
            against: families whose best schedule is compared too.
        """
        spec = confirmation_spec(self.study, top, seeds, against)
        task = self.task or load_task(spec.task.run, spec.task_options())
        confirming = create_study(self.study.storage, spec, task)
        train_here(confirming, self.url, task, self.device)
        return read_confirmation(confirming)

    def plot(self, figure: str = "winners") -> Figure:
        """Return a figure of the study, such as "winners", "by_family", "base_lr", "training".

        Raises:
            LrsearchError: for an unknown name; the message lists them.
        """
        from lrsearch.reporting import FIGURES, read_data

        if figure not in FIGURES:
            raise LrsearchError(f"there is no figure {figure!r}; {nearest(figure, FIGURES)}")
        return FIGURES[figure](read_data(self.study))

    def report(self, path: str | Path = "report.html") -> Path:
        """Write a page of figures and tables that needs nothing else; return its path."""
        from lrsearch.reporting import REPORT_FORMATS, make_report

        path = Path(path)
        REPORT_FORMATS["html"](make_report(self.study), path)
        return path

    def export(self, format: str = "json", *, steps: int | None = None) -> str:
        """Return the best schedule as the text of a file, as `lrsearch export` writes it.

        Args:
            format: such as "json", "python", "lightning", "transformers", "keras".
            steps: updates of your run, if others than in the search.
        """
        if format not in FORMATS:
            raise LrsearchError(f"there is no format {format!r}; {nearest(format, FORMATS)}")
        best = Exported.of(self.study, read_answer(self.study))
        return FORMATS[format](rescaled(best, steps or best.total_steps))

    def __repr__(self) -> str:
        status, answer = read_status(self.study), find_answer(self.study)
        best = f", best {answer.summary}" if answer else ""
        return f"<Search {self.name!r}: {status.finished} of {status.target} trials{best}>"

    def _repr_html_(self) -> str:
        status, answer = read_status(self.study), find_answer(self.study)
        counts = ("finished", "pruned", "diverged", "failed", "epochs")
        shown = [(name, getattr(status, name)) for name in counts]
        if answer is None:
            return displays.table((self.name, "no result yet"), shown)
        rows = [("best", answer.summary), ("trial", answer.trial.number), *shown]
        return displays.table((self.name, ""), rows) + self.schedule._repr_html_()


def train_here(
    study: Study, url: str, task: Task, device: str, callbacks: Sequence[Factory] = ()
) -> None:
    """Train a study's trials in this process until nothing is left to do.

    Raises:
        StudyError: if too many trials in a row failed.
        KeyboardInterrupt: after Ctrl-C, or where `lrsearch stop` asked for it.
    """
    study.set_stopping(False)
    reason = work(url, study.name, device, pack=None, task=task, callbacks=callbacks)
    if reason is NoTrialReason.FAILING:
        raise StudyError(why_stopped(study))
    if reason is None:
        raise KeyboardInterrupt(
            f"interrupted; what was trained is kept in study {study.name!r}: call again with "
            f"name={study.name!r} to go on, or Search.open({study.name!r}) to look at it"
        )
