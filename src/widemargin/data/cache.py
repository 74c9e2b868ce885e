"""Decoded data on disk: read once, checked by a checksum, mapped into memory by every process that uses it.

CACHE/data/FINGERPRINT/data.safetensors    all splits; images as uint8
CACHE/data/FINGERPRINT/manifest.json       source, number of classes, checksum; written last
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from widemargin.data.sources import HubName, StoredData, read_source
from widemargin.errors import InvalidInputError

__all__ = ["CachedData", "cache_folder", "cached"]

FORMAT = 1
"""Part of every fingerprint: a change of what is stored, or how, makes old entries unknown."""

ENTRY = "cache:"
"""Begins the name of examples that came from Python and are in the cache only."""


@dataclass(frozen=True, eq=False)
class CachedData:
    """A source's examples, mapped from the cache.

    Attributes:
        data: The examples; writing to their tensors changes neither the cache nor other processes.
        source: Where they came from, as it was named; for what came from Python, the entry in the cache.
        checksum: SHA-256 of the decoded examples: equal for equal content, on every machine.
    """

    data: StoredData
    source: str
    checksum: str


def cache_folder() -> Path:
    """Return where decoded data is kept: ``$WIDEMARGIN_CACHE``, or ``widemargin`` in the user's cache folder."""
    if named := os.environ.get("WIDEMARGIN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "widemargin"


def cached(source: Any, hub: HubName | None = None) -> CachedData:
    """Return a source's examples from the cache, decoding them into it first where they are not there.

    A local source counts as another one when a file of it changes. A damaged entry is decoded anew. Processes that
    decode the same source at once do not disturb each other. Torch data sets are put into the cache by calling this
    once in Python; from then on the ``source`` of what it returns names them wherever a source is asked for.

    Args:
        source: As for :func:`widemargin.data.sources.read_source`, or the ``source`` of what came from Python before.
        hub: What is known of the data set that the source is to be.

    Raises:
        InvalidInputError: The source cannot be read; or the disk is full.
    """
    given = None if isinstance(source, str | Path) else read_source(source)
    entry = cache_folder() / "data" / (_fingerprint(source, hub) if given is None else _content(given))
    found = _entry(entry)
    if found is None:
        name = str(source) if given is None else f"{ENTRY}{entry.name}"
        if given is None and name.startswith(ENTRY):
            raise InvalidInputError(
                f"{source} must be in the cache {cache_folder()}, where it was put from Python, but is not. Hand the "
                "data over again."
            )
        _write(entry, name, given or read_source(source, hub))
        found = _entry(entry)
    if found is None:
        raise InvalidInputError(f"{entry} was written and cannot be read back: the disk or its memory is damaged.")
    return found


def _fingerprint(source: str | Path, hub: HubName | None) -> str:
    """Return the entry of a source that has a name."""
    label_column = hub.label_column if hub else None
    if str(source).startswith(ENTRY):
        return str(source).removeprefix(ENTRY)
    parts: list[Any] = [str(source), hub.configuration if hub else None]
    if (path := Path(source)).exists():
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        stats = [(str(file.relative_to(path)), file.stat()) for file in files]
        parts = [str(path.resolve()), *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]
    return _digest(json.dumps([FORMAT, label_column, parts]).encode())[:16]


def _content(stored: StoredData) -> str:
    """Return the entry of examples without a name."""
    sums = [
        [name, *(_digest(part.contiguous().numpy()) for part in pair)] for name, pair in sorted(stored.splits.items())
    ]
    return _digest(json.dumps([FORMAT, None, sums]).encode())[:16]


def _digest(content: Any) -> str:
    """Return the SHA-256 of bytes, or of an array's memory."""
    return hashlib.sha256(content).hexdigest()


def _entry(folder: Path) -> CachedData | None:
    """Return a cache entry; None if it is absent or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if _file_sum(folder / "data.safetensors") != manifest["checksum"]:
            return None
        tensors = load_file(folder / "data.safetensors")  # mapped, not read
        splits = {name: (tensors[f"{name}_inputs"], tensors[f"{name}_labels"]) for name in manifest["splits"]}
        return CachedData(StoredData(splits, manifest["num_classes"]), manifest["source"], manifest["checksum"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file_sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(entry: Path, name: str, stored: StoredData) -> None:
    """Write an entry under a temporary name and rename it; nothing is left of one that fails."""
    partial = entry.with_name(f".partial-{secrets.token_hex(8)}")
    tensors = {
        f"{split}_{part}": value.clone(memory_format=torch.contiguous_format)  # no two may share their memory
        for split, pair in stored.splits.items()
        for part, value in zip(("inputs", "labels"), pair, strict=True)
    }
    try:
        partial.mkdir(parents=True)
        save_file(tensors, partial / "data.safetensors")
        manifest = {
            "source": str(Path(name).resolve()) if Path(name).exists() else name,
            "num_classes": stored.num_classes,
            "splits": list(stored.splits),
            "checksum": _file_sum(partial / "data.safetensors"),
        }
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=2))
        if entry.exists():  # damaged: _entry would have returned it otherwise
            entry.rename(entry.with_name(f".partial-{secrets.token_hex(8)}-damaged"))
        try:
            partial.rename(entry)
        except OSError:
            if not entry.exists():  # else another process was faster
                raise
    except Exception as error:  # safetensors has an error type of its own for a full disk
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            num_bytes = sum(value.nbytes for value in tensors.values())
            raise InvalidInputError(
                f"the cache {cache_folder()} needs {num_bytes / 2**20:.0f} MiB for {name}, but its disk is full. "
                "Free some, or name another place with WIDEMARGIN_CACHE."
            ) from None
        if isinstance(error, OSError):
            raise InvalidInputError(
                f"the cache {cache_folder()} must be a folder to write to, but: {error.strerror}. Name another place "
                "with WIDEMARGIN_CACHE."
            ) from None
        raise
    finally:
        for leftover in (partial, *entry.parent.glob(".partial-*-damaged")):
            shutil.rmtree(leftover, ignore_errors=True)
