"""MLflow."""

from __future__ import annotations

import math
import time
from typing import Any

from lrsearch.study import Study
from lrsearch.tracking.tracker import Tracker, library

NAME = "lrsearch.run"
"""The tag by which a run that was interrupted is found again."""


def mlflow(study: Study) -> Tracker:
    """Log every run to the MLflow experiment of the study's name, at `MLFLOW_TRACKING_URI`.

    Values that are not finite are left out: MLflow's stores refuse some.

    Raises:
        LrsearchError: without MLflow.
    """
    return _MLflow(study, library("mlflow", "mlflow"))


class _MLflow(Tracker):
    def __init__(self, study: Study, library: Any) -> None:
        super().__init__(study)
        self._entities = library.entities
        self._client = library.MlflowClient()
        there = self._client.get_experiment_by_name(study.name)
        self._experiment = (
            there.experiment_id if there else self._client.create_experiment(study.name)
        )

    def begin(self, name: str, parameters: dict[str, Any]) -> Any:
        query = f"tags.`{NAME}` = '{name}'"
        if found := self._client.search_runs([self._experiment], query):
            return found[0].info.run_id
        run = self._client.create_run(self._experiment, run_name=name, tags={NAME: name})
        for key, value in parameters.items():
            self._client.log_param(run.info.run_id, key, value)
        return run.info.run_id

    def log(self, run: Any, values: dict[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metric = self._entities.Metric
        finite = [metric(k, v, now, step) for k, v in values.items() if math.isfinite(v)]
        self._client.log_batch(run, metrics=finite)

    def end(self, run: Any) -> None:
        self._client.set_terminated(run)
