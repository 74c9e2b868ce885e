"""How commands answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from widemargin.errors import InvalidInputError

__all__ = ["AsJson", "print_json", "refuse_folder", "status", "steps_bar"]

AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON on standard output.")]


def steps_bar() -> Progress:
    """Return a bar for shares of something, with the time that has passed."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def status(message: str) -> Iterator[None]:
    """Show that something is going on."""
    with Console(stderr=True).status(message):
        yield


def refuse_folder(page: Path | None) -> None:
    """Check where a page is to go before hours are spent on what it is to hold.

    Raises:
        InvalidInputError: It is a folder.
    """
    if page is not None and page.is_dir():
        raise InvalidInputError(f"--report must name the HTML file to write, got the folder {str(page)!r}.")


def print_json(answer: object) -> None:
    """Answer a machine."""
    print(json.dumps(answer, indent=2, allow_nan=False))
