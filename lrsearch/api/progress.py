"""A live progress bar, in a notebook a widget where that can be drawn."""

from __future__ import annotations

import time

from tqdm.auto import tqdm

from lrsearch.evaluation import find_answer
from lrsearch.storage import EpochMetrics
from lrsearch.study import Study, TrialRecord, read_status

PAUSE = 0.5
"""Seconds between two looks at the study."""


class _ProgressBar:
    """Shows how many trials are over, where the present one is, and the best so far."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.bar = tqdm(
            total=study.target,
            desc=study.name,
            unit="trial",
            bar_format="{desc}: {bar} {n_fmt}/{total_fmt} trials [{elapsed}] {postfix}",
        )
        self._last = 0.0
        self._best = ""
        self._show()

    def epoch(self, row: EpochMetrics) -> None:
        """Show an epoch."""
        if time.monotonic() - self._last >= PAUSE:
            value = row.metrics.get(self.study.spec.study.metric)
            now = "" if value is None else f", {self.study.spec.study.metric} {value:.4g}"
            self._show(f"; trial {row.trial} epoch {row.epoch}{now}")

    def trial(self, record: TrialRecord) -> None:
        """Show that a trial is over."""
        if time.monotonic() - self._last >= PAUSE:
            self._show()

    def close(self) -> None:
        """Show how it ended, and leave that."""
        self._show()
        self.bar.close()

    def _show(self, now: str = "") -> None:
        status = read_status(self.study)
        self.bar.n, self.bar.total = status.finished, status.target
        answer = find_answer(self.study)
        best = f"best {answer.value:.4g}" if answer else "no result yet"
        self.bar.set_postfix_str(best + now, refresh=True)
        self._last = time.monotonic()


progress_bar = _ProgressBar
"""Makes the bar of a study: a callback like any other."""
