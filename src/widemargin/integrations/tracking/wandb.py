"""Runs in Weights & Biases: offline in a folder, or on its server where ``WANDB_API_KEY`` is set."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from widemargin.integrations.tracking.tracker import PROJECT, Tracker, imported

__all__ = ["WandbTracker"]


class WandbTracker(Tracker):
    """A run is a run whose id is its key, in the group of its study.

    ``WANDB_MODE``, ``WANDB_PROJECT``, ``WANDB_ENTITY`` and ``WANDB_DIR`` are respected.

    Args:
        folder: For the folder ``wandb`` of offline runs. To send them later:
            ``wandb sync FOLDER/wandb/offline-run-*``.

    Raises:
        InvalidInputError: The package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._wandb = imported("wandb", "wandb")
        self._folder = Path(os.environ.get("WANDB_DIR", folder))
        self._mode = os.environ.get("WANDB_MODE", "online" if "WANDB_API_KEY" in os.environ else "offline")
        self._project = os.environ.get("WANDB_PROJECT", PROJECT)
        server, entity = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"), os.environ.get("WANDB_ENTITY", "")
        online = "/".join(filter(None, (server, entity, self._project)))
        self.destination = online if self._mode == "online" else f"{self._folder}/wandb ({self._mode})"

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str) -> bool:
        """See :meth:`Tracker.begin`."""
        for begun in (self._folder / "wandb").glob(f"offline-run-*-{key}"):
            shutil.rmtree(begun)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=self._project,
            id=key,
            name=key,
            group=study,
            tags=[status],
            config=dict(configuration),
            dir=str(self._folder),
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,  # steps that are there already are not taken twice
            reinit="create_new",  # the user may have a run of their own in this process
            settings=self._wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
            ),
        )
        return True

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_step`."""
        self._run.log(dict(metrics), step=step)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_numbers`."""
        self._run.summary.update(dict(numbers))

    def attach(self, file: Path) -> None:
        """See :meth:`Tracker.attach`."""
        if file.suffix == ".png":
            self._run.log({file.stem: self._wandb.Image(str(file))})
            return
        copy = Path(self._run.dir, file.name)  # save() alone would link to a file that may go away
        shutil.copyfile(file, copy)
        self._run.save(str(copy), base_path=self._run.dir, policy="end")

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        self._run.finish()
