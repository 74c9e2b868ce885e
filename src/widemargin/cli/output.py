"""How commands answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

__all__ = ["AsJson", "print_json", "status", "steps_bar"]

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


def print_json(answer: object) -> None:
    """Answer a machine."""
    print(json.dumps(answer, indent=2, allow_nan=False))
