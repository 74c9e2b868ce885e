"""What a tracker of experiments is to a zoo."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from widemargin.errors import InvalidInputError

__all__ = ["KEY", "PROJECT", "Tracker", "imported", "shown_name"]

KEY = "widemargin.key"
"""Under which name trackers know a run's key."""

PROJECT = "widemargin"
"""Where runs go whose user named no project."""


class Tracker(ABC):
    """Where runs are logged, one after the other: begun, filled and ended.

    A run is known by its key. One that was begun and never ended, because its process was killed, is replaced when
    it is begun again.

    Attributes:
        destination: Where runs go; what was sent to one destination can still be sent to another.
    """

    destination: str

    @abstractmethod
    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
        """Begin a run; return whether there is anything to log: False if it is there already, complete.

        Args:
            key: Names the run.
            study: The study that it belongs to.
            configuration: Its hyperparameters; numbers, truth values, texts and None.
            status: How it ended: ``finished`` or ``diverged``; of a zoo's own figures and pages ``zoo``.
            edition: Another one where there are other figures and pages to log; a run that is there in another
                edition is replaced.
        """

    @abstractmethod
    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log what was measured at a step of the training; steps come in order."""

    @abstractmethod
    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Log what was measured once, at the end."""

    @abstractmethod
    def attach(self, file: Path) -> None:
        """Copy a file to the run; figures (``.png``, ``.gif``) and pages (``.html``) are shown where that can be."""

    @abstractmethod
    def end(self) -> None:
        """Complete the run."""


def shown_name(file: Path) -> str:
    """Return under which name a file is shown: a still figure's has no suffix.

    Example:
        >>> shown_name(Path("margins.png")), shown_name(Path("margins.gif"))
        ('margins', 'margins.gif')
    """
    return file.stem if file.suffix == ".png" else file.name


def imported(module: str, extra: str) -> Any:
    """Return a module of a tracker's package.

    Raises:
        InvalidInputError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InvalidInputError(
            f"tracking with {extra} needs a package that is not installed ({error}). Install it with: pip install "
            f"'widemargin[{extra}]'"
        ) from None
