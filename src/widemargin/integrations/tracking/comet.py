"""Runs in Comet: archives in a folder, or on its server where ``COMET_API_KEY`` is set."""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from widemargin.integrations.tracking.tracker import KEY, PROJECT, Tracker, imported, shown_name

__all__ = ["CometTracker"]


class CometTracker(Tracker):
    """A run is an experiment, whose key follows from the run's.

    ``COMET_PROJECT_NAME``, ``COMET_WORKSPACE`` and ``COMET_OFFLINE_DIRECTORY`` are respected.

    Args:
        folder: For the folder ``comet`` of archives. To send them later: ``comet upload FOLDER/comet/*.zip``.

    Raises:
        InvalidInputError: The package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._comet = imported("comet_ml", "comet")
        logging.getLogger("comet_ml").setLevel(logging.ERROR)  # it tells of every run what is said here once
        self._is_online = "COMET_API_KEY" in os.environ
        self._folder = Path(os.environ.get("COMET_OFFLINE_DIRECTORY", folder / "comet"))
        self._project = os.environ.get("COMET_PROJECT_NAME", PROJECT)
        online = ("Comet", os.environ.get("COMET_WORKSPACE", ""), self._project)
        self.destination = "/".join(filter(None, online)) if self._is_online else str(self._folder)

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
        """See :meth:`Tracker.begin`."""
        identity = hashlib.sha256(key.encode()).hexdigest()[:32]  # Comet wants 32 characters or more
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{identity}.zip").unlink(missing_ok=True)
        self._experiment = self._comet.start(
            online=self._is_online,
            project_name=self._project,
            experiment_key=identity,
            mode="get_or_create" if self._is_online else "create",
            experiment_config=self._comet.ExperimentConfig(
                name=key,
                tags=[study, status],
                offline_directory=str(self._folder),
                display_summary_level=0,
                log_code=False,
                log_graph=False,
                log_git_metadata=False,
                log_env_details=False,
                parse_args=False,
                auto_output_logging=False,
                auto_param_logging=False,
                auto_metric_logging=False,
                auto_log_co2=False,
            ),
        )
        self._experiment.log_others({KEY: key, "study": study, "status": status})
        self._experiment.log_parameters(dict(configuration), nested_support=False)
        return True

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_step`."""
        self._experiment.log_metrics(dict(metrics), step=step)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_numbers`."""
        self._experiment.log_metrics(dict(numbers))

    def attach(self, file: Path) -> None:
        """See :meth:`Tracker.attach`."""
        if file.suffix in (".png", ".gif"):
            self._experiment.log_image(str(file), name=shown_name(file))
        else:
            self._experiment.log_asset(str(file), file_name=file.name)

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        self._experiment.end()
