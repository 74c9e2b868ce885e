"""Runs that could not be trained: how often, and how the last time."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from upath import UPath

from widemargin.errors import RunError

__all__ = ["MAX_ATTEMPTS", "Failure"]

MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run failed.

    Attributes:
        attempts: How often it did.
        reason: The last time, in one sentence.
        traceback: Where in the code, if it was an exception.
    """

    attempts: int
    reason: str
    traceback: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the run is not tried again unless that is asked for."""
        return self.attempts >= MAX_ATTEMPTS

    def as_json(self) -> str:
        """Return it as it is written."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def read(cls, path: Path | UPath) -> "Failure":
        """Read what :meth:`as_json` gave.

        Raises:
            RunError: It is damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path} must be the record of a failed run, but is not ({error}). Delete it.") from None
