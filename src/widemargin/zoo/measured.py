"""Every measure of every network of a zoo, kept beside its runs in ZOO/measures/KEY.json."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config

from widemargin import __version__
from widemargin.data import Sources
from widemargin.errors import RunError
from widemargin.measures import measure_all
from widemargin.measures.measuring import records
from widemargin.zoo.cost import training_flops
from widemargin.zoo.execution import one_torch_thread
from widemargin.zoo.run import load_trained
from widemargin.zoo.store import Run, Zoo

__all__ = ["measure_zoo", "measured_values"]

KEPT = ("value", "standard_error", "status", "reason", "seconds")


def measure_zoo(
    zoo: Zoo,
    measures: Sequence[str] | None = None,
    *,
    num_sampled: int = 500,
    seed: int = 0,
    jobs: int = -1,
    sources: Sources | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Measure every finished network of a zoo, and return how many were measured now.

    What a network was measured on before, with the same sample and seed, is kept and not measured again; so a
    measuring that was stopped goes on where it was. :func:`widemargin.zoo.zoo_table` has the values as ``m.NAME``.

    Args:
        zoo: The folder of runs.
        measures: Names in the catalogue; default: all of it.
        num_sampled: As for :class:`widemargin.measures.Quantities`.
        seed: As there.
        jobs: Worker processes, one torch thread each; -1 for as many as there are cores.
        sources: Where the data is now; default: where it was when the runs were trained.
        on_progress: Called with the number of networks measured, and of those that are to be.

    Raises:
        InvalidInputError: No such measure.
        RunError: A run is damaged, or its data cannot be read.
    """
    wanted = [measure.name for measure in records(measures)]
    settings = {"num_sampled": num_sampled, "seed": seed}
    todo = []
    for run in zoo.runs():
        known = _known(zoo, run, settings).get("measures", {})
        missing = [name for name in wanted if name not in known]
        if missing and run.result["status"] == "finished":
            todo.append((run, missing))
    todo.sort(key=lambda each: -training_flops(each[0].config))  # the longest first
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        ended = Parallel(return_as="generator_unordered", batch_size=1)(
            delayed(_measure)(zoo, run, missing, settings, sources) for run, missing in todo
        )
        for index, _ in enumerate(ended):
            if on_progress is not None:
                on_progress(index + 1, len(todo))
    return len(todo)


def measured_values(zoo: Zoo, run: Run) -> dict[str, float]:
    """Return what is known of a run's measures, by name; NaN where one does not apply."""
    rows = _known(zoo, run).get("measures", {})
    return {name: math.nan if row["value"] is None else float(row["value"]) for name, row in rows.items()}


def _known(zoo: Zoo, run: Run, settings: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the record of a run's measures; empty if there is none, or one of other weights or other settings.

    Raises:
        RunError: It is damaged.
    """
    path = zoo.folder / "measures" / f"{run.folder.name}.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        is_current = record["weights"] == _weights(run)
        is_like = settings is None or all(record[name] == value for name, value in settings.items())
        return record if is_current and is_like and record["measures"] else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} must be the record of a run's measures, but is not ({error}). Delete it.") from None


def _weights(run: Run) -> str | None:
    """Return the checksum of a run's weights, as its result gives it."""
    found: str | None = run.result.get("files", {}).get("weights.safetensors")
    return found


def _measure(
    zoo: Zoo, run: Run, missing: Sequence[str], settings: Mapping[str, int], sources: Sources | None
) -> None:
    with one_torch_thread():
        frame = measure_all(load_trained(run, sources=sources), missing, history=run.history, **settings)
    rows = {str(name): {column: _plain(row[column]) for column in KEPT} for name, row in frame.iterrows()}
    known = _known(zoo, run, settings)
    shared = {name: round(seconds, 3) for name, seconds in frame.attrs["shared_seconds"].items()}
    record = {
        "weights": _weights(run),
        **settings,
        "versions": {"widemargin": __version__, "torch": torch.__version__},
        "shared_seconds": known.get("shared_seconds", {}) | shared,
        "measures": known.get("measures", {}) | rows,
    }
    zoo.note_measures(run.folder.name, json.dumps(record, indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return a number that JSON has, None for one that it has not, and texts as they are."""
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
