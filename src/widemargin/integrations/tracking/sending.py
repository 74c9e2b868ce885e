"""Runs of a zoo to a tracker, each once."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from upath import UPath

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.figures import draw_margin_density, margin_densities
from widemargin.integrations.tracking.tracker import Tracker
from widemargin.margins import MarginDistribution
from widemargin.zoo import RESULT_COLUMNS, Run, Zoo, hyperparameters

__all__ = ["send_pages", "send_run", "sending_until_it_fails", "unsent"]

SHOWN = (".gif", ".html", ".png")
"""Figures, animations and pages that commands or users put beside what a zoo or a run consists of."""


def send_run(zoo: Zoo, run: Run, tracker: Tracker) -> bool:
    """Log a finished run unless it was before; return whether it was now.

    What was sent where is written down in the zoo once it is complete there. A process that is killed in between
    leaves at most what the next sending replaces or finds complete; what another process is sending is left to it.

    Logged are the resolved configuration; loss, accuracy, learning rate and epoch along the training; accuracies,
    losses and gap; the margin signature and the total variation of each layer; the weights, a figure of the margins,
    and what figures, animations and pages lie in the run's folder. A run that got others since is sent anew.

    Args:
        zoo: Where the run is.
        run: One of its finished runs.
        tracker: Where to.

    Raises:
        RunError: The run is damaged.
        Exception: What the tracker raised; nothing is written down, and the run is sent anew the next time.

    Example:
        >>> from widemargin.integrations.tracking import send_run, tracker_named
        >>> from widemargin.zoo import Zoo
        >>> def send_all(zoo: Zoo) -> int:
        ...     tracker = tracker_named("mlflow", zoo.folder)
        ...     return sum(send_run(zoo, run, tracker) for run in zoo.runs())
    """
    key, config, result = run.folder.name, run.config, run.result
    shown = _shown(run.folder)
    edition = _edition(shown)
    with zoo.sending(key, _place(tracker, edition)) as is_due:
        if not is_due or not tracker.begin(key, _name(zoo), hyperparameters(config), result["status"], edition):
            return False
        for record in run.history:
            metrics = {f"training/{n}": value for n, value in record.items() if n != "step" and value is not None}
            tracker.log_step(int(record["step"] or 0), metrics)
        margins = run.margins if result["status"] == "finished" else None
        numbers = {column: float(result[column]) for column in RESULT_COLUMNS if column in result}
        tracker.log_numbers(numbers | ({} if margins is None else _margin_numbers(margins)))
        with tempfile.TemporaryDirectory(prefix="widemargin-") as scratch:
            _attach(tracker, [run.folder / "weights.safetensors"], Path(scratch))
            figure = Path(scratch, "margins.png")
            if margins is not None and _drew_margins(margins, figure):
                tracker.attach(figure)
            _attach(tracker, shown, Path(scratch))
            tracker.end()
    return True


def send_pages(zoo: Zoo, tracker: Tracker) -> int:
    """Send what figures, animations and pages lie in the zoo's own folder, unless it was before; return how many.

    They are a run of their own, named after what is in them: a report that was written anew is sent anew.

    Raises:
        Exception: What the tracker raised; nothing is written down, and they are sent anew the next time.
    """
    shown = _shown(zoo.folder)
    if not shown:
        return 0
    key = f"zoo-{_edition(shown)}"
    with zoo.sending(key, tracker.destination) as is_due:
        if not is_due or not tracker.begin(key, _name(zoo), {}, "zoo"):
            return 0
        with tempfile.TemporaryDirectory(prefix="widemargin-") as scratch:
            _attach(tracker, shown, Path(scratch))
            tracker.end()
    return len(shown)


def sending_until_it_fails(
    zoo: Zoo, tracker: Tracker, on_failure: Callable[[Exception], None]
) -> Callable[[Run], None]:
    """Return what sends each run it is called with, and never raises: at the first failure it says so and stops.

    A tracker that is out of reach takes minutes to give up, which a zoo that trains shall lose once at most.

    Args:
        zoo: Where the runs are.
        tracker: Where to.
        on_failure: Called once, with what went wrong.
    """
    has_failed = False

    def send(run: Run) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            send_run(zoo, run, tracker)
        except Exception as error:  # trackers raise whatever their networks, stores and services do
            has_failed = True
            on_failure(error)

    return send


def unsent(zoo: Zoo, runs: list[Run], tracker: Tracker) -> list[Run]:
    """Return those of a zoo's runs that were not sent to the tracker's destination as they are now."""
    return [run for run in runs if not zoo.was_sent(run.folder.name, _place(tracker, _edition(_shown(run.folder))))]


def _name(zoo: Zoo) -> str:
    return "zoo" if zoo.study is None else zoo.study.name


def _shown(folder: Path | UPath) -> list[Path | UPath]:
    return sorted((file for file in folder.iterdir() if file.suffix in SHOWN), key=lambda file: file.name)


def _edition(files: Sequence[Path | UPath]) -> str:
    """Return what tells one set of files from another; nothing for none."""
    contents = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:8] if files else ""


def _place(tracker: Tracker, edition: str) -> str:
    """Return under which name it is noted that an edition was sent."""
    return f"{tracker.destination} {edition}" if edition else tracker.destination


def _attach(tracker: Tracker, files: Sequence[Path | UPath], scratch: Path) -> None:
    """Attach files, of a store as local copies."""
    for file in files:
        if isinstance(file, Path):
            tracker.attach(file)
            continue
        copy = scratch / file.name
        copy.write_bytes(file.read_bytes())
        tracker.attach(copy)


def _margin_numbers(margins: MarginDistribution) -> dict[str, float]:
    numbers = {
        f"total_variation/{layer}": float(value)
        for layer, value in zip(margins.layers, margins.total_variation, strict=True)
    }
    with suppress(InvalidInputError, TooFewExamplesError):  # too few right answers, or a dead layer
        numbers |= {f"signature/{name}": value for name, value in margins.signature().items()}
    return numbers


def _drew_margins(margins: MarginDistribution, file: Path) -> bool:
    """Draw the densities of the normalized margins, a panel a layer; return whether there are any."""
    try:
        densities = margin_densities(margins)
    except InvalidInputError:  # a dead layer
        return False
    if not densities:
        return False
    figure = Figure(figsize=(3.6 * len(densities), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, density in zip(figure.subplots(1, len(densities), squeeze=False)[0], densities, strict=True):
        draw_margin_density(ax, density)
    figure.savefig(file, dpi=100)
    return True
