"""Runs in TensorBoard: event files in a folder each."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from widemargin.integrations.tracking.tracker import Tracker, imported, shown_name

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker(Tracker):
    """A run is a folder; TensorBoard shows its curves, its figures and a row of its table of hyperparameters.

    TensorBoard keeps no files but event files: weights and pages stay in the run's own folder.

    Args:
        folder: For the folder ``tensorboard``. To look at it: ``tensorboard --logdir FOLDER/tensorboard``.

    Raises:
        InvalidInputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        imported("tensorboard", "tensorboard")
        self._writer_type = imported("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._summary = imported("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._folder = folder / "tensorboard"
        self.destination = str(self._folder)

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
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
        if file.suffix in (".png", ".gif"):
            with Image.open(file) as image:
                width, height = image.size
            picture = self._summary.Image(  # the file as it is: a browser plays a GIF
                width=width, height=height, colorspace=3, encoded_image_string=file.read_bytes()
            )
            value = self._summary.Value(tag=shown_name(file), image=picture)
            self._writer.file_writer.add_summary(self._summary(value=[value]))

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        self._writer.close()
