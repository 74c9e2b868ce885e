"""A zoo on disk or on a store: one folder of runs, each run's folder complete or absent.

ZOO/study.json               the study as it was last trained
ZOO/runs/KEY/                one finished run, named by the hash of its configuration
    config.json              its configuration, every default resolved
    initial.safetensors      parameters and buffers before training
    weights.safetensors      … and after
    history.jsonl            loss and accuracy along the way
    margins.npz              its margin distribution (absent where it diverged)
    result.json              written last, with the checksum of every other file
ZOO/failures/KEY.json        how often a run failed, and how the last time
ZOO/measures/KEY.json        every measure of a run that was asked for
ZOO/tracked/KEY-….json       that a run was sent to a destination of a tracker; KEY-….lock while it is
ZOO/under_way/DRIVER-…/      runs being trained by a driver; swept away when it is gone
ZOO/checkpoints/KEY.…        what a long run goes on from; gone when the run has ended
ZOO/locks/DRIVER             whoever trains a share of the runs holds its lock
"""

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from upath import UPath

from widemargin.errors import InvalidInputError, RunError, StudyError, ZooBusyError
from widemargin.margins import MarginDistribution
from widemargin.zoo.failures import Failure
from widemargin.zoo.locks import holder, locked
from widemargin.zoo.study import RunConfig, Study
from widemargin.zoo.workplace import DOOMED, Workplace, publish, removed, seal, written

__all__ = ["Run", "Zoo"]

ALONE = "all-1-1"
"""The driver of whoever does not say: all runs are its own."""


@dataclass(frozen=True, init=False)
class Run:
    """A finished run's folder.

    Attributes:
        folder: Where it is, handed over as for :class:`Zoo`.
    """

    folder: Path | UPath

    def __init__(self, folder: str | Path | UPath) -> None:
        object.__setattr__(self, "folder", _located(folder) if isinstance(folder, str) else folder)

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

    @property
    def history(self) -> list[dict[str, float | None]]:
        """Loss and accuracy along the training, as :class:`widemargin.training.HistoryRecord` names them.

        Raises:
            RunError: There is none, or it is damaged.
        """
        path = self.folder / "history.jsonl"
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except (OSError, ValueError) as error:
            raise RunError(f"{path} must hold a record a line, but does not ({error}). Train it again.") from None

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


@dataclass(frozen=True, init=False)
class Zoo:
    """A folder of runs.

    Attributes:
        folder: Where it is: an absolute local path, or a :class:`upath.UPath` to any store that fsspec knows; handed
            over as such, or as the text of a path or of a store's address.
        driver: Whose work under way is written here: the name of a division of the runs, a dash, and a share of it.
        checkpoints: Local folder where long runs leave what they can go on from; default: in the zoo, or where that
            is on a store, in this machine's folder for temporary files.

    Raises:
        InvalidInputError: The store is unknown, or what is needed to reach it is not installed.
    """

    folder: Path | UPath
    driver: str = field(compare=False)
    checkpoints: Path | None = field(compare=False)

    def __init__(
        self, folder: str | Path | UPath, driver: str = ALONE, checkpoints: str | Path | None = None
    ) -> None:
        local = None if checkpoints is None else Path(checkpoints)
        for name, value in (("folder", _located(folder)), ("driver", driver), ("checkpoints", local)):
            object.__setattr__(self, name, value)

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
    def runs_folder(self) -> Path | UPath:
        """Where the runs are."""
        return self.folder / "runs"

    def runs(self) -> list[Run]:
        """Return every finished run, by key."""
        _look_again(self.folder)
        folders = [path.parent for path in self.runs_folder.glob("*/result.json")]
        return [Run(folder) for folder in sorted(folders, key=lambda each: each.name) if folder.name[0] != "."]

    def keys(self) -> set[str]:
        """Return the keys of the finished runs."""
        return {run.folder.name for run in self.runs()}

    @contextmanager
    def locked(self, **note: Any) -> Iterator[Callable[[], None]]:
        """Hold this driver's share of the runs for this process alone.

        On local file systems the lock goes away with the process, however it ends; on stores see
        :mod:`widemargin.zoo.locks`. Yields a function that raises if the hold was lost since.

        Args:
            **note: What others shall know of who holds it.

        Raises:
            ZooBusyError: Another process holds it, or a share of runs that are divided in another way.
        """
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with locked(locks / self.driver, note) as check:
            if any(_division(name) != _division(self.driver) for name in self.drivers()):
                raise ZooBusyError(
                    f"{self.folder} is being trained by another process, which divides its runs in another way. Wait "
                    "for it, or give all of them the same study and the same n of --shard i/n."
                )
            yield check

    def drivers(self) -> dict[str, dict[str, Any]]:
        """Return the notes of the drivers that hold their shares now, by name."""
        _look_again(self.folder)
        folder = self.folder / "locks"
        notes = {path.name: holder(path) for path in folder.iterdir()} if folder.is_dir() else {}
        return {name: note for name, note in notes.items() if note is not None}

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
        self._write(self.folder / "study.json", study.model_dump_json(indent=2))

    def failures(self) -> dict[str, Failure]:
        """Return how often and how runs failed that have not been trained since, by key.

        Raises:
            RunError: A record of a failure is damaged.
        """
        _look_again(self.folder)
        return {path.stem: Failure.read(path) for path in (self.folder / "failures").glob("*.json")}

    def note_failure(self, key: str, failure: Failure | None) -> None:
        """Write down how a run failed; with None, forget that it did."""
        path = self.folder / "failures" / f"{key}.json"
        if failure is not None:
            self._write(path, failure.as_json())
        elif path.exists():
            path.unlink()

    def note_measures(self, key: str, record: str) -> None:
        """Write down the measures of a run."""
        self._write(self.folder / "measures" / f"{key}.json", record)

    def was_sent(self, key: str, destination: str) -> bool:
        """Return whether a tracker sent a run to its destination."""
        return self._tracked(key, destination).exists()

    @contextmanager
    def sending(self, key: str, destination: str) -> Iterator[bool]:
        """Yield whether a run is still to be sent to a destination; write down that it was if all goes well.

        It is not, either, while another process is sending it there.
        """
        note = self._tracked(key, destination)
        note.parent.mkdir(parents=True, exist_ok=True)
        lock = note.with_suffix(".lock")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(lock, {"process": os.getpid()}))
            except ZooBusyError:
                yield False
                return
            was_sent = note.exists()
            yield not was_sent
            if not was_sent:
                self._write(note, json.dumps({"destination": destination}))
            lock.unlink(missing_ok=True)  # whoever waits for it, or makes it anew, finds the note

    def _tracked(self, key: str, destination: str) -> Path | UPath:
        digest = hashlib.sha256(destination.encode()).hexdigest()[:8]
        return self.folder / "tracked" / f"{key}-{digest}.json"

    def checkpoint(self, config: RunConfig) -> Path:
        """Return the local file where a long run may leave what it can go on from.

        It outlives processes that are killed, and is removed when the run has ended.
        """
        return self.checkpoints_folder / f"{config.key}.safetensors"

    @property
    def checkpoints_folder(self) -> Path:
        """Where checkpoints are: :attr:`checkpoints` or its default."""
        if self.checkpoints is not None:
            return self.checkpoints
        if isinstance(self.folder, Path):
            return self.folder / "checkpoints"
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / "widemargin-checkpoints" / name

    def sweep(self, keys: set[str] | None = None) -> int:
        """Remove what interrupted processes left half-written; return how many pieces that were.

        Args:
            keys: Runs that are this driver's own; default: all.
        """
        _look_again(self.folder)
        alive = self.drivers().keys() - {self.driver}
        num_removed = 0
        under_way = self.folder / "under_way"
        for path in [*under_way.iterdir()] if under_way.is_dir() else []:
            if path.name.rpartition("-")[0] not in alive:
                num_removed += removed(path) and not path.name.startswith(DOOMED)
        finished = self.keys()
        for path in [*self.runs_folder.iterdir()] if self.runs_folder.is_dir() else []:
            is_own = keys is None or path.name in keys or path.name.startswith(DOOMED)
            if is_own and path.is_dir() and path.name not in finished:
                num_removed += removed(path)
        for path in self.checkpoints_folder.glob("*"):
            key = path.name.lstrip(".").partition(".")[0]
            if key in finished or (path.name.startswith(".") and (keys is None or key in keys)):  # or half-written
                path.unlink(missing_ok=True)
        return num_removed

    def under_way(self) -> dict[str, float]:
        """Return of every run that a living driver trains what share of its training is done."""
        shares: dict[str, float] = {}
        alive = self.drivers()
        for path in (self.folder / "under_way").glob("*/progress.json"):
            with contextlib.suppress(OSError, ValueError):  # it may go away or be half-written at any moment
                if path.parent.name.rpartition("-")[0] in alive:
                    progress = json.loads(path.read_text())
                    shares |= dict.fromkeys(progress["runs"], progress["share"])
        return shares

    @contextmanager
    def workplace(self, keys: Sequence[str]) -> Iterator[Workplace]:
        """Yield where runs are trained until they are published; nothing of it is left behind."""
        with Workplace.made(self.folder / "under_way" / f"{self.driver}-{secrets.token_hex(8)}", keys) as place:
            yield place

    @contextmanager
    def writing(self, config: RunConfig) -> Iterator[Path]:
        """Yield a folder to write a run into; on success it becomes the run, otherwise nothing is left.

        ``config.json`` is written first, by this; ``result.json`` is for the caller to write last. It is given the
        checksums of all other files.

        Raises:
            RunError: The caller wrote no ``result.json``.
        """
        with self.workplace([config.key]) as place:
            folder = place.folder / config.key
            folder.mkdir()
            (folder / "config.json").write_text(config.model_dump_json(indent=2))
            yield folder
            if not (folder / "result.json").exists():
                raise RunError(f"{folder} lacks its result.json, which is written last.")
            seal(folder)
            self.publish(folder)

    def publish(self, folder: Path) -> None:
        """Make a run of what was written in a workplace; one that is there already stays as it is."""
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        publish(folder, self.runs_folder / folder.name)
        for path in self.checkpoints_folder.glob(f"{folder.name}.*"):
            path.unlink(missing_ok=True)

    def _write(self, path: Path | UPath, text: str) -> None:
        under_way = self.folder / "under_way"
        for folder in (path.parent, under_way):
            folder.mkdir(parents=True, exist_ok=True)
        written(path, text, under_way / f"{self.driver}-{secrets.token_hex(8)}")


def _located(address: str | Path | UPath) -> Path | UPath:
    """Return where a zoo is, by its absolute path or its address on a store."""
    try:
        folder = UPath(address).absolute()
        if not isinstance(folder, Path):
            _ = folder.fs
    except (ImportError, ValueError) as error:
        raise InvalidInputError(
            f"{address} must be a folder, or an address that fsspec knows, but: {error}."
        ) from None
    return folder


def _division(driver: str) -> str:
    return driver.rpartition("-")[0]


def _look_again(path: Path | UPath) -> None:
    """Forget what fsspec remembers of a store's listings: other processes write there too."""
    if not isinstance(path, Path):
        path.fs.invalidate_cache()
