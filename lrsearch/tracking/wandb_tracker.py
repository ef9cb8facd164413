"""Weights & Biases."""

from __future__ import annotations

from typing import Any

from lrsearch.study import Study
from lrsearch.tracking.tracker import Tracker, library


def wandb(study: Study) -> Tracker:
    """Log every run to the Weights & Biases project of the study's name.

    Its own environment variables hold: `WANDB_MODE=offline` keeps all on this machine.

    Raises:
        LrsearchError: without wandb.
    """
    return _WandB(study, library("wandb", "wandb"))


class _WandB(Tracker):
    def __init__(self, study: Study, library: Any) -> None:
        super().__init__(study)
        self._library = library

    def begin(self, name: str, parameters: dict[str, Any]) -> Any:
        return self._library.init(
            project=self.study.name,
            name=name,
            id=f"{self.study.files.name}-{name}",
            resume="allow",
            reinit="create_new",
            config=parameters,
            settings=self._library.Settings(silent=True),
        )

    def log(self, run: Any, values: dict[str, float], step: int) -> None:
        run.log(values, step=step)

    def end(self, run: Any) -> None:
        run.finish()
