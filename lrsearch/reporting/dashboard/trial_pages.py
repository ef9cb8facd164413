"""What a trial's page shows: a picture and a table, made when they are asked for.

Nothing of it is stored. Optuna lets nobody write to a finished trial, and notes on trials are kept
with the study, where every poll would load those of all trials. So the dashboard reads through a
storage that lists two more artifacts for each trial, and an artifact store that makes them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial, TrialState

from lrsearch.reporting.dashboard.picture import picture
from lrsearch.storage import Storage, read_metrics, show_attributes, study_of_trial, trial_id_of
from lrsearch.study import HORIZONS, SPEC, Attribute, StudySpec, TrialRecord, as_record


class _Kind(NamedTuple):
    filename: str
    mimetype: str
    make: Callable[[TrialRecord, str], str]
    """Of a trial and the metric that trials are compared by."""


def epochs_csv(trial: TrialRecord) -> str:
    """Return the metrics of every epoch as CSV."""
    names = list(dict.fromkeys(name for row in trial.epochs for name in row.metrics))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("run", "epoch", "step", "lr", *names))
    for row in trial.epochs:
        values = (f"{row.metrics[name]:.6g}" if name in row.metrics else "" for name in names)
        writer.writerow((row.run, row.epoch, row.step, f"{row.lr:.6g}", *values))
    return out.getvalue()


_KINDS = (
    _Kind("learning-rate.svg", "image/svg+xml", picture),
    _Kind("epochs.csv", "text/csv", lambda trial, _: epochs_csv(trial)),
)


class TrialPages(Storage):
    """A study's storage as the dashboard is to see it: each trial has our artifacts too."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials, with our artifacts listed among their attributes."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        for trial in trials:
            if Attribute.SCHEDULE in trial.user_attrs:
                show_attributes(trial, _listed(trial_id_of(trial)))
        return trials

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return a trial's attributes, our artifacts among them."""
        return super().get_trial_system_attrs(trial_id) | _listed(trial_id)


def _listed(trial_id: int) -> dict[str, str]:
    """Return the attributes by which Optuna lists our artifacts of a trial."""
    ids = {f"{trial_id:x}-{index}": kind for index, kind in enumerate(_KINDS)}
    return {
        f"artifacts:{key}": json.dumps(
            {
                "artifact_id": key,
                "filename": kind.filename,
                "mimetype": kind.mimetype,
                "encoding": None,
            }
        )
        for key, kind in ids.items()
    }


class Artifacts(FileSystemArtifactStore):
    """The artifacts that were uploaded, from their folder, and ours."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open what was uploaded, or make what is ours."""
        ours = _ours(artifact_id)
        if ours is None:
            return super().open_reader(artifact_id)
        trial_id, kind = ours
        study_id = study_of_trial(self.storage, trial_id)
        attrs = self.storage.get_study_user_attrs(study_id)  # also of one that was copied
        trial = self.storage.get_trial(trial_id)  # it alone: a study may have thousands
        epochs = read_metrics(self.storage, study_id, [trial.number])
        spec = StudySpec.from_dict(attrs[SPEC])
        record = as_record(trial, spec, spec.rungs(attrs[HORIZONS]), epochs)
        return io.BytesIO(kind.make(record, spec.study.metric).encode())

    def remove(self, artifact_id: str) -> None:
        """Remove what was uploaded; ours takes no room."""
        if _ours(artifact_id) is None:
            super().remove(artifact_id)


def _ours(artifact_id: str) -> tuple[int, _Kind] | None:
    """Return trial and kind of an artifact of ours; what is uploaded has a UUID's four hyphens."""
    trial_id, _, index = artifact_id.partition("-")
    return (int(trial_id, 16), _KINDS[int(index)]) if artifact_id.count("-") == 1 else None
