"""Keeping trainers of the same runs apart, on local file systems and on stores.

On a local file system the lock is the kernel's: exact, and gone with its process, however that ends.

A store has no such lock. There a lease stands for it: an object that is created only where there is none, renewed
every 20 seconds, and taken over once it was not renewed for two minutes. Guaranteed, as long as clocks agree within
a minute, is that nobody gets a lease that is renewed; and, where the store refuses to create what exists (S3, Google
Cloud Storage, memory), that of two that start at once only one gets it. Not guaranteed is what no lease can: a
trainer that was frozen for longer than two minutes goes on until its next run ends before it notices. That run may
be trained twice; either way it is complete.
"""

import contextlib
import fcntl
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from widemargin.errors import ZooBusyError

__all__ = ["holder", "locked"]

RENEWED_AFTER_SECONDS = 20.0
STALE_AFTER_SECONDS = 120.0
SETTLING_SECONDS = 2.0
"""Whoever takes over a stale lease waits so long and looks whether another did at the same moment."""

PATIENCE_SECONDS = 0.5
"""For how long a lock is asked for: whoever only looks whether it is held holds it for an instant."""


@contextmanager
def locked(path: Path | UPath, note: Mapping[str, Any]) -> Iterator[Callable[[], None]]:
    """Hold a lock for this process alone, with a note for whoever looks; yield what raises if it was lost since.

    Raises:
        ZooBusyError: It is held.
    """
    if not isinstance(path, Path):
        with Lease(path, note) as lease:
            yield lease.check
        return
    with path.open("a+") as file:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(path) from None
                time.sleep(PATIENCE_SECONDS / 50)
        file.truncate(0)
        file.write(json.dumps(dict(note)))
        file.flush()
        yield lambda: None


def holder(path: Path | UPath) -> dict[str, Any] | None:
    """Return the note of whoever holds a lock; None if nobody does."""
    if not isinstance(path, Path):
        content = _lease(path)
        return content if content and time.time() - content["renewed"] < STALE_AFTER_SECONDS else None
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _object(file.read())
    except FileNotFoundError:
        pass
    return None


class Lease:
    """What stands for a lock on a store."""

    def __init__(self, path: UPath, note: Mapping[str, Any]) -> None:
        self._path, self._note, self._token = path, note, secrets.token_hex(8)
        self._is_over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._is_lost = False

    def __enter__(self) -> "Lease":
        if (was := _lease(self._path)) is not None:
            if time.time() - was["renewed"] < STALE_AFTER_SECONDS:
                raise _busy(self._path)
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        try:
            self._path.fs.pipe_file(self._path.path, self._content(), mode="create")
        except FileExistsError:
            raise _busy(self._path) from None
        if was is not None:
            time.sleep(SETTLING_SECONDS)
            if not self._is_ours():
                raise _busy(self._path)
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._renewing.join()
        if not self._is_lost and self._is_ours():
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def check(self) -> None:
        """Make sure that nobody took the lease over.

        Raises:
            ZooBusyError: Somebody did.
        """
        if self._is_lost:
            raise _busy(self._path)

    def _is_ours(self) -> bool:
        content = _lease(self._path)
        return content is not None and content["token"] == self._token

    def _content(self) -> bytes:
        return json.dumps({**self._note, "token": self._token, "renewed": time.time()}).encode()

    def _renew(self) -> None:
        while not self._is_over.wait(RENEWED_AFTER_SECONDS):
            with contextlib.suppress(OSError):  # the store is out of reach: the next time, or stale
                if not self._is_ours():
                    self._is_lost = True
                    return
                self._path.fs.pipe_file(self._path.path, self._content())


def _busy(path: Path | UPath) -> ZooBusyError:
    return ZooBusyError(
        f"{path.parent.parent} is being trained by another process. Wait for it, or stop it: its finished runs are "
        "kept."
    )


def _lease(path: UPath) -> dict[str, Any] | None:
    """Return what a lease says; one that says nothing was never renewed."""
    path.fs.invalidate_cache()
    try:
        return {"renewed": 0.0, "token": ""} | _object(path.read_text())
    except FileNotFoundError:
        return None


def _object(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        if isinstance(content := json.loads(text), dict):
            return content
    return {}
