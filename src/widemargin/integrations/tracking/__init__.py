"""Zoos in trackers of experiments; none is on by default, each is imported only when it is used."""

from collections.abc import Callable, Mapping
from pathlib import Path

from widemargin.errors import InvalidInputError
from widemargin.integrations.tracking.comet import CometTracker
from widemargin.integrations.tracking.mlflow import MLflowTracker
from widemargin.integrations.tracking.sending import send_pages, send_run, sending_until_it_fails, unsent
from widemargin.integrations.tracking.tensorboard import TensorBoardTracker
from widemargin.integrations.tracking.tracker import Tracker
from widemargin.integrations.tracking.wandb import WandbTracker

__all__ = ["TRACKERS", "Tracker", "send_pages", "send_run", "sending_until_it_fails", "tracker_named", "unsent"]

TRACKERS: Mapping[str, Callable[[Path], Tracker]] = {
    "comet": CometTracker,
    "mlflow": MLflowTracker,
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}
"""By the name of the extra that installs what each needs."""


def tracker_named(name: str, folder: str | Path) -> Tracker:
    """Return a tracker; nothing is sent or written yet.

    Args:
        name: One of :data:`TRACKERS`.
        folder: Local, for what it writes where its own environment variables name no other place.

    Raises:
        InvalidInputError: There is no such tracker, or what it needs is not installed.
    """
    if name not in TRACKERS:
        raise InvalidInputError(f"a tracker must be one of {', '.join(TRACKERS)}, got {name!r}.")
    return TRACKERS[name](Path(folder))
