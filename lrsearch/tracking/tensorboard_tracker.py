"""TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrsearch.study import Study
from lrsearch.tracking.tracker import Tracker, library

FOLDER = "runs"
"""In the working directory, as TensorBoard's writers have it; in it a folder of the study."""


def tensorboard(study: Study) -> Tracker:
    """Write every run to `runs/STUDY/`; look with `tensorboard --logdir runs`.

    Raises:
        LrsearchError: without TensorBoard.
    """
    library("tensorboard", "tensorboard")
    return _TensorBoard(study)


class _TensorBoard(Tracker):
    def begin(self, name: str, parameters: dict[str, Any]) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(Path(FOLDER, self.study.name, name))
        lines = [f"{key}: {value}  " for key, value in parameters.items()]
        writer.add_text("parameters", "\n".join(lines))
        return writer

    def log(self, run: Any, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            run.add_scalar(name, value, step)
        run.flush()

    def end(self, run: Any) -> None:
        run.close()
