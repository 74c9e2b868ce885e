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
    """Send finished runs to a tracker, with figures and pages of theirs, each once: what was sent is left out."""
    from widemargin.integrations.tracking import send_pages, send_run, unsent
    from widemargin.zoo import Run, Zoo

    found: dict[Zoo, dict[str, Run]] = {}
    whole: list[Zoo] = []
    for zoo, runs, is_whole in map(_runs_at, targets):
        found.setdefault(zoo, {}).update({run.folder.name: run for run in runs})
        whole += [zoo] * is_whole
    trackers = {zoo: _tracker(zoo, to) for zoo in found}
    due: list[tuple[Zoo, Run | None]] = [
        (zoo, run) for zoo, runs in found.items() for run in unsent(zoo, [*runs.values()], trackers[zoo])
    ]
    num_sent, num_pages, num_runs = 0, 0, sum(map(len, found.values()))
    with steps_bar() as bar:
        for zoo, run in bar.track([*due, *((zoo, None) for zoo in whole)], description=f"sending to {to}"):
            try:
                if run is None:
                    num_pages += send_pages(zoo, trackers[zoo])
                else:
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
        print_json({"runs": num_runs, "sent": num_sent, "pages": num_pages, "destinations": destinations})
        return
    print(f"{num_sent} runs sent to {', '.join(destinations)}.")
    if num_pages:
        print(f"With them went {num_pages} figures and pages of the zoo itself.")
    if num_sent < num_runs:
        print(f"{num_runs - num_sent} were left out: they are there, or another process is sending them.")


def tracking(folder: str, name: str) -> "Callable[[Run], None]":
    """Return what logs each run of a zoo in training that it is called with; the first failure is told, and ends it.

    What was not sent of the zoo before is told, too.

    Raises:
        InvalidInputError: There is no such tracker, or what it needs is not installed.
    """
    from widemargin.integrations.tracking import sending_until_it_fails, unsent
    from widemargin.zoo import Zoo

    def say(what: str) -> None:
        words = f"note: {what} send them with: widemargin track {folder} --to {name}"
        Console(stderr=True).print(words, style="yellow", markup=False, highlight=False, soft_wrap=True)

    zoo = Zoo(folder)
    tracker = _tracker(zoo, name)
    if num := len(unsent(zoo, zoo.runs(), tracker)):
        say(f"{num} runs that ended before were not sent to {tracker.destination};")
    return sending_until_it_fails(
        zoo,
        tracker,
        lambda error: say(f"{name} failed: {_in_short(error)}. Runs are no longer logged, but trained on; later,"),
    )


def _tracker(zoo: "Zoo", name: str) -> "Tracker":
    """Return a tracker that writes into the zoo, or for a zoo on a store into the folder where the command runs."""
    from widemargin.integrations.tracking import tracker_named

    return tracker_named(name, zoo.folder if isinstance(zoo.folder, Path) else Path.cwd())


def _in_short(error: Exception) -> str:
    """Return the first line of what a tracker says, which may be pages."""
    return said(error).partition("\n")[0].rstrip(".:")


def _runs_at(target: str) -> "tuple[Zoo, list[Run], bool]":
    """Return a zoo, its runs, of a run's folder that one alone, and whether these are all."""
    from widemargin.zoo import Run, Zoo

    folder = Zoo(target).folder
    if folder.parent.name == "runs" and (folder / "result.json").exists():
        return Zoo(folder.parent.parent), [Run(folder)], False
    zoo = existing_zoo(target)
    return zoo, zoo.runs(), True
