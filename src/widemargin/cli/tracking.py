"""Zoos to trackers of experiments."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from widemargin.cli.output import AsJson, print_json, steps_bar
from widemargin.cli.targets import existing_zoo, said
from widemargin.errors import TrackingError, WidemarginError

if TYPE_CHECKING:
    from widemargin.integrations.tracking import Tracker
    from widemargin.zoo import Run, Zoo

__all__ = ["track", "tracking"]


def track(
    targets: Annotated[list[str], typer.Argument(help="Zoos, or folders of their runs.", show_default=False)],
    to: Annotated[str, typer.Option(help="comet, mlflow, tensorboard or wandb.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Send finished runs to a tracker, each once: what was sent before is left out."""
    from widemargin.integrations.tracking import send_run, unsent
    from widemargin.zoo import Run, Zoo

    found: dict[Zoo, dict[str, Run]] = {}
    for zoo, runs in map(_runs_at, targets):
        found.setdefault(zoo, {}).update({run.folder.name: run for run in runs})
    trackers = {zoo: _tracker(zoo, to) for zoo in found}
    due = [(zoo, run) for zoo, runs in found.items() for run in unsent(zoo, [*runs.values()], trackers[zoo])]
    num_sent, num_runs = 0, sum(map(len, found.values()))
    with steps_bar() as bar:
        for zoo, run in bar.track(due, description=f"sending to {to}"):
            try:
                num_sent += send_run(zoo, run, trackers[zoo])
            except WidemarginError:
                raise
            except Exception as error:  # whatever the tracker's network, store or service raises
                raise TrackingError(
                    f"{trackers[zoo].destination} failed after {num_sent} runs: {_in_short(error)}. The runs "
                    "are as they were; the same command goes on where this one was."
                ) from error
    destinations = [tracker.destination for tracker in trackers.values()]
    if as_json:
        print_json({"runs": num_runs, "sent": num_sent, "destinations": destinations})
        return
    print(f"{num_sent} runs sent to {', '.join(destinations)}.")
    if num_sent < num_runs:
        print(f"{num_runs - num_sent} were left out: they are there, or another process is sending them.")


def tracking(folder: str, name: str) -> "Callable[[Run], None]":
    """Return what logs each run of a zoo in training that it is called with; the first failure is told, and ends it.

    Raises:
        InvalidInputError: There is no such tracker, or what it needs is not installed.
    """
    from widemargin.integrations.tracking import sending_until_it_fails
    from widemargin.zoo import Zoo

    def say(error: Exception) -> None:
        Console(stderr=True).print(
            f"note: {name} failed: {_in_short(error)}. Runs are no longer logged, but trained on; "
            f"later, send them with: widemargin track {folder} --to {name}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    zoo = Zoo(folder)
    return sending_until_it_fails(zoo, _tracker(zoo, name), say)


def _tracker(zoo: "Zoo", name: str) -> "Tracker":
    """Return a tracker that writes into the zoo, or for a zoo on a store into the folder where the command runs."""
    from widemargin.integrations.tracking import tracker_named

    return tracker_named(name, zoo.folder if isinstance(zoo.folder, Path) else Path.cwd())


def _in_short(error: Exception) -> str:
    """Return the first line of what a tracker says, which may be pages."""
    return said(error).partition("\n")[0].rstrip(".:")


def _runs_at(target: str) -> "tuple[Zoo, list[Run]]":
    """Return a zoo and its runs; of a run's folder, that run alone."""
    from widemargin.zoo import Run, Zoo

    folder = Zoo(target).folder
    if folder.parent.name == "runs" and (folder / "result.json").exists():
        return Zoo(folder.parent.parent), [Run(folder)]
    zoo = existing_zoo(target)
    return zoo, zoo.runs()
