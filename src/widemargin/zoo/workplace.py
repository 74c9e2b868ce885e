"""Where runs are written before they are a zoo's, and how they become so on local file systems and on stores."""

import contextlib
import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

__all__ = ["DOOMED", "Workplace", "publish", "removed", "seal", "written"]

DOOMED = ".doomed-"


@dataclass(frozen=True)
class Workplace:
    """A local folder to work in, and an entry in the zoo that says what is worked on.

    Attributes:
        folder: Local; beside the runs where they are local too, so that it can be renamed to become one.
        entry: The zoo's folder that says so.
        keys: The runs that are worked on.
    """

    folder: Path
    entry: Path | UPath
    keys: tuple[str, ...]

    @classmethod
    @contextmanager
    def made(cls, entry: Path | UPath, keys: Sequence[str]) -> Iterator["Workplace"]:
        """Make a workplace and yield it; nothing of it is left behind."""
        entry.mkdir(parents=True)
        try:
            with contextlib.ExitStack() as stack:
                if isinstance(entry, Path):
                    folder = entry / "work"
                    folder.mkdir()
                else:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="widemargin-")))
                place = cls(folder, entry, tuple(keys))
                place.tell(0.0)
                yield place
        finally:
            removed(entry)

    def tell(self, share: float) -> None:
        """Leave word of the share of the training that is done, for whoever shows progress."""
        with contextlib.suppress(FileNotFoundError):  # it was swept away: so is what is written here
            (self.entry / "progress.json").write_text(json.dumps({"runs": self.keys, "share": share}))


def seal(folder: Path) -> None:
    """Add the checksums of a run's files to its ``result.json``."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    files = sorted(file for file in folder.iterdir() if file != path)
    result["files"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    path.write_text(json.dumps(result, indent=2, allow_nan=False))


def publish(source: Path, target: Path | UPath) -> None:
    """Make a run of a folder: renamed on local file systems, elsewhere uploaded with ``result.json`` last.

    A run that is there already, complete, stays as it is.
    """
    if isinstance(target, Path):
        try:
            source.rename(target)
        except OSError:
            if not (target / "result.json").exists():
                raise
        return
    if (target / "result.json").exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: (file.name == "result.json", file.name)):
        (target / file.name).write_bytes(file.read_bytes())


def written(path: Path | UPath, text: str, partial: Path | UPath) -> None:
    """Write a file at once or not at all; on local file systems under a partial name first."""
    if isinstance(path, Path) and isinstance(partial, Path):
        partial.write_text(text)
        partial.replace(path)
    else:
        path.write_text(text)


def removed(path: Path | UPath) -> bool:
    """Remove a file or folder with all that is in it; return whether it was there."""
    if isinstance(path, Path):
        # Renamed first: a worker that outlived its parent can then neither write into it nor finish it.
        doomed = path if path.name.startswith(DOOMED) else path.with_name(f"{DOOMED}{secrets.token_hex(8)}")
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return False
        if doomed.is_dir():
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            doomed.unlink(missing_ok=True)
        return True
    try:
        path.fs.rm(path.path, recursive=True)
    except FileNotFoundError:
        return False
    return True
