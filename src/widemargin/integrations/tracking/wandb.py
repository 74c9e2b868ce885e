"""Runs in Weights & Biases: offline in a folder, or on its server for whoever is logged in there."""

import netrc
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from widemargin.integrations.tracking.tracker import PROJECT, Tracker, imported, shown_name

__all__ = ["WandbTracker"]


class WandbTracker(Tracker):
    """A run is a run whose id is its key, in the group of its study.

    Who is logged in, by ``wandb login`` or by ``WANDB_API_KEY``, sends to the server, and with ``WANDB_MODE=offline``
    does not. ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_BASE_URL`` and ``WANDB_DIR`` are respected.

    Args:
        folder: For the folder ``wandb`` of offline runs. To send them later:
            ``wandb sync FOLDER/wandb/offline-run-*``.

    Raises:
        InvalidInputError: The package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._wandb = imported("wandb", "wandb")
        self._folder = Path(os.environ.get("WANDB_DIR", folder))
        self._project = os.environ.get("WANDB_PROJECT", PROJECT)
        server, entity = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"), os.environ.get("WANDB_ENTITY", "")
        self._mode = os.environ.get("WANDB_MODE", "online" if _is_logged_in(server) else "offline")
        online = "/".join(filter(None, (server, entity, self._project)))
        self.destination = online if self._mode == "online" else f"{self._folder}/wandb ({self._mode})"

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
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
        shown: Mapping[str, Callable[[str], Any]] = {
            ".png": self._wandb.Image,
            ".gif": self._wandb.Video,
            ".html": lambda path: self._wandb.Html(path, inject=False),
        }
        if file.suffix in shown:
            self._run.log({shown_name(file): shown[file.suffix](str(file))})
            return
        copy = Path(self._run.dir, file.name)  # save() alone would link to a file that may go away
        shutil.copyfile(file, copy)
        self._run.save(str(copy), base_path=self._run.dir, policy="end")

    def end(self) -> None:
        """See :meth:`Tracker.end`."""
        self._run.finish()


def _is_logged_in(server: str) -> bool:
    """Return whether there is a key to the server, in the environment or where ``wandb login`` leaves it."""
    if "WANDB_API_KEY" in os.environ:
        return True
    places = [os.environ["NETRC"]] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for place in places:
        try:
            return netrc.netrc(place).authenticators(urlsplit(server).hostname or "") is not None
        except (OSError, netrc.NetrcParseError):  # none there, or not one that is understood
            continue
    return False
