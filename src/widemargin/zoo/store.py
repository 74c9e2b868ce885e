"""A zoo on disk: one folder of runs, each run's folder complete or absent.

ZOO/study.json               the study as it was last trained
ZOO/runs/KEY/                one finished run, named by the hash of its configuration
    config.json              its configuration, every default resolved
    initial.safetensors      parameters and buffers before training
    weights.safetensors      … and after
    history.jsonl            loss and accuracy along the way
    margins.npz              its margin distribution (absent where it diverged)
    result.json              written last
ZOO/runs/.partial-KEY-…      a run being written; swept away when nobody writes it any more
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from widemargin.errors import RunError, StudyError, ZooBusyError
from widemargin.margins import MarginDistribution
from widemargin.zoo.study import RunConfig, Study

__all__ = ["HEARTBEAT", "Run", "Zoo"]

HEARTBEAT = "progress"
"""File in a half-written run's folder: how much of it and of those trained with it is done [runs]."""

PARTIAL, DOOMED = ".partial-", ".doomed-"


@dataclass(frozen=True)
class Run:
    """A finished run's folder."""

    folder: Path

    @property
    def config(self) -> RunConfig:
        """What decided the network.

        Raises:
            RunError: The folder is no finished run, or is damaged.
        """
        try:
            return RunConfig.model_validate(self._json("config.json"))
        except ValidationError as error:
            raise RunError(
                f"{self.folder}/config.json is no run configuration: {error.errors()[0]['msg']}."
            ) from None

    @property
    def result(self) -> Mapping[str, Any]:
        """What was measured; its ``status`` is ``finished`` or ``diverged``.

        Raises:
            RunError: The folder is no finished run, or is damaged.
        """
        result = self._json("result.json")
        if "status" not in result:
            raise RunError(f"{self.folder}/result.json must say the run's status, and does not. Train it again.")
        return result

    @property
    def margins(self) -> MarginDistribution:
        """The margin distribution.

        Raises:
            RunError: There is none, or it is damaged.
        """
        return MarginDistribution.load(self.folder / "margins.npz")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} must be readable JSON of a finished run, but is not ({error}). Check the folder's name; "
                "if the run is damaged, delete its folder and train the zoo again."
            ) from None
        if not isinstance(content, dict):
            raise RunError(f"{path} must hold a JSON object, got {type(content).__name__}.")
        return content


@dataclass(frozen=True)
class Zoo:
    """A folder of runs."""

    folder: Path

    @property
    def study(self) -> Study | None:
        """The study that was last trained here, if any.

        Raises:
            RunError: It is damaged.
        """
        path = self.folder / "study.json"
        if not path.exists():
            return None
        try:
            return Study.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path} must be a study, but is not: {error.errors()[0]['msg']}.") from None

    @property
    def runs_folder(self) -> Path:
        """Where the runs are."""
        return self.folder / "runs"

    def checkpoint(self, config: RunConfig) -> Path:
        """Return where a run's training keeps its state until it ends."""
        return self.folder / "checkpoints" / f"{config.key}.safetensors"

    def runs(self) -> list[Run]:
        """Return every finished run, by key."""
        if not self.runs_folder.is_dir():
            return []
        folders = sorted(path for path in self.runs_folder.iterdir() if not path.name.startswith("."))
        return [Run(folder) for folder in folders if (folder / "result.json").exists()]

    def keys(self) -> set[str]:
        """Return the keys of the finished runs."""
        return {run.folder.name for run in self.runs()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone; the lock goes away with the process, however it ends.

        Raises:
            ZooBusyError: Another process holds it.
        """
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ZooBusyError(
                    f"{self.folder} is being trained by another process. Wait for it, or stop it: its finished runs "
                    "are kept."
                ) from None
            yield

    def adopt(self, study: Study) -> None:
        """Write down the study that is about to be trained here.

        Raises:
            StudyError: The folder holds runs that are not in the study.
        """
        strange = self.keys() - {config.key for config in study.runs()}
        if strange:
            raise StudyError(
                f"{self.folder} holds {len(strange)} runs that are not in the study {study.name!r} (another study, "
                "seed or grid). Choose another folder with --out."
            )
        partial = self.folder / f"{PARTIAL}study-{secrets.token_hex(4)}"
        partial.write_text(study.model_dump_json(indent=2))
        partial.replace(self.folder / "study.json")

    def sweep(self) -> int:
        """Remove what interrupted processes left half-written; return how many runs that were."""
        if not self.runs_folder.is_dir():
            return 0
        for leftover in self.folder.glob(f"{PARTIAL}study-*"):
            leftover.unlink(missing_ok=True)
        num_partial = 0
        for path in [*self.runs_folder.iterdir()]:
            is_partial = path.name.startswith(PARTIAL) or (path.is_dir() and not (path / "result.json").exists())
            if is_partial and not path.name.startswith(DOOMED):
                # Renamed first: a worker that outlived its parent can then neither write into it nor finish it.
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(f"{DOOMED}{secrets.token_hex(8)}"))
                    num_partial += 1
        for doomed in self.runs_folder.glob(f"{DOOMED}*"):
            shutil.rmtree(doomed, ignore_errors=True)
        return num_partial

    def num_under_way(self) -> float:
        """Return how many runs' worth of training is done in runs that have not ended."""
        done = 0.0
        for path in self.runs_folder.glob(f"{PARTIAL}*/{HEARTBEAT}"):
            with contextlib.suppress(OSError, ValueError):  # it may go away or be half-written at any moment
                done += float(path.read_text())
        return done

    @contextmanager
    def writing(self, config: RunConfig) -> Iterator[Path]:
        """Yield a folder to write a run into; on success it becomes the run, otherwise nothing is left.

        ``config.json`` is written first, by this; ``result.json`` is for the caller to write last.

        Raises:
            RunError: The caller wrote no ``result.json``.
        """
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        partial = self.runs_folder / f"{PARTIAL}{config.key}-{os.getpid()}-{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            (partial / "config.json").write_text(config.model_dump_json(indent=2))
            yield partial
            if not (partial / "result.json").exists():
                raise RunError(f"{partial} lacks its result.json, which is written last.")
            with contextlib.suppress(FileExistsError):
                _rename_to_absent(partial, self.runs_folder / config.key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _rename_to_absent(source: Path, target: Path) -> None:
    """Rename a folder; one that is there already, complete, stays as it is.

    Raises:
        FileExistsError: The target is there.
    """
    try:
        source.rename(target)
    except OSError:
        if target.exists():
            raise FileExistsError(target) from None
        raise
