"""Runs in TensorBoard: event files in a folder each."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from widemargin.integrations.tracking.tracker import Tracker, imported

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker(Tracker):
    """A run is a folder; TensorBoard shows its curves, its figures and a row of its table of hyperparameters.

    TensorBoard keeps no files but event files: weights stay in the run's own folder.

    Args:
        folder: For the folder ``tensorboard``. To look at it: ``tensorboard --logdir FOLDER/tensorboard``.

    Raises:
        InvalidInputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        imported("tensorboard", "tensorboard")
        self._writer_type = imported("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._folder = folder / "tensorboard"
        self.destination = str(self._folder)

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str) -> bool:
        """See :meth:`Tracker.begin`."""
        folder = self._folder / key
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = self._writer_type(str(folder))
        named = {"study": study, "status": status, **configuration}
        self._configuration = {name: "none" if value is None else value for name, value in named.items()}
        return True

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_step`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """See :meth:`Tracker.log_numbers`."""
        self._writer.add_hparams(self._configuration, dict(numbers), run_name=".")

    def attach(self, file: Path) -> None:
        """See :meth:`Tracker.attach`."""
        if file.suffix == ".png":
            with Image.open(file) as image:
                self._writer.add_image(file.stem, np.asarray(image.convert("RGB")), dataformats="HWC")

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        self._writer.close()
