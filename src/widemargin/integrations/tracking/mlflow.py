"""Runs in MLflow: in an SQLite file, or wherever ``MLFLOW_TRACKING_URI`` says."""

import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from widemargin.integrations.tracking.tracker import KEY, Tracker, imported

__all__ = ["MLflowTracker"]

EDITION = "widemargin.edition"
"""Under which name a run's edition is kept."""

LARGEST_BATCH = 1000
"""Metrics that MLflow takes at once."""


class MLflowTracker(Tracker):
    """A run is a run of the experiment named as its study, or as ``MLFLOW_EXPERIMENT_NAME`` says.

    Args:
        folder: For ``mlflow.db`` and ``mlflow-files``, where no server is named. To look at them:
            ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db``.

    Raises:
        InvalidInputError: MLflow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._mlflow = imported("mlflow", "mlflow")
        self._entities = imported("mlflow.entities", "mlflow")
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # it tells of the tables that it makes
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a link for each run of a server's
        named = os.environ.get("MLFLOW_TRACKING_URI")
        self._own_store = None if named else folder / "mlflow.db"
        self.destination = named or f"sqlite:///{self._own_store}"
        self._files = None if named else (folder / "mlflow-files").as_uri()
        self._metrics: list[Any] = []

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
        """See :meth:`Tracker.begin`."""
        if self._own_store is not None and not self._own_store.exists():
            self._make_store(self._own_store)
        self._client = self._mlflow.MlflowClient(self.destination)
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", study))
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
        if any(run.info.status == "FINISHED" and run.data.tags.get(EDITION, "") == edition for run in found):
            return False
        for run in found:
            self._client.delete_run(run.info.run_id)
        tags = {KEY: key, EDITION: edition, "study": study, "status": status}
        self._run = self._client.create_run(experiment, tags=tags, run_name=key).info.run_id
        params = [self._entities.Param(name, str(value)) for name, value in configuration.items()]
        self._client.log_batch(self._run, params=params)
        self._metrics = []
        return True

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_step`."""
        now = int(1000 * time.time())
        self._metrics += [self._entities.Metric(_allowed(name), v, now, step) for name, v in metrics.items()]

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_numbers`."""
        self.log_step(0, numbers)

    def attach(self, file: Path) -> None:
        """See :meth:`Tracker.attach`."""
        self._client.log_artifact(self._run, str(file))

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        for first in range(0, len(self._metrics), LARGEST_BATCH):
            self._client.log_batch(self._run, metrics=self._metrics[first : first + LARGEST_BATCH])
        self._client.set_terminated(self._run)

    def _make_store(self, path: Path) -> None:
        """Make an SQLite file at once or not at all: MLflow cannot go on from tables that are there by halves."""
        partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        self._mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments()
        with suppress(FileExistsError):  # another process was first
            os.link(partial, path)
        partial.unlink()

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location=self._files))
        return str(found.experiment_id)


def _allowed(name: str) -> str:
    """Return a metric's name without what MLflow forbids, such as the @ of layers that are called twice."""
    return re.sub(r"[^\w\-. /]", "-", name)
