"""The basins of a zoo's networks: radii and volumes beside poison and gap, a row a network and cutoff."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from joblib import Parallel, delayed, parallel_config

from widemargin.data import Sources
from widemargin.errors import WidemarginError
from widemargin.landscape import BasinRadii, basin_radii, basin_volumes
from widemargin.measures.basin_search import CLEARANCE
from widemargin.parameters import Normalization
from widemargin.zoo.execution import one_torch_thread
from widemargin.zoo.run import load_trained
from widemargin.zoo.store import Run, Zoo

__all__ = ["CUTOFFS", "basin_table", "radii_of"]

CUTOFFS = (0.1, 0.2, 0.4)
"""Mean losses [nats] that bound basins: the paper's, and two larger ones."""


def basin_table(
    zoo: Zoo,
    *,
    cutoffs: Sequence[float] = CUTOFFS,
    num_directions: int = 100,
    cap: float = 1.0,
    normalization: Normalization = "filter",
    seed: int = 0,
    jobs: int = -1,
    sources: Sources | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return one row per finished network and cutoff.

    Columns: ``run``, ``configuration``, ``poison_factor``, ``train_accuracy``, ``test_accuracy``, ``gap``,
    ``train_loss``, ``cutoff``, ``mean_radius``, ``median_radius``, ``log10_volume``, ``num_free``,
    ``effective_sample_size``, ``largest_share``, ``share_censored``, and ``why_left_out``, which is empty where there
    is a basin. All networks are measured along directions of the same seed.

    Args:
        zoo: The folder of runs.
        cutoffs: Mean training losses that bound the basins.
        num_directions: Directions per network, each followed both ways.
        cap: How far they are followed.
        normalization: Units of the directions.
        seed: Where the directions come from.
        jobs: Worker processes, one torch thread each; -1 for as many as there are cores.
        sources: Where the data is now; default: where it was when the runs were trained.
        on_progress: Called with the number of networks measured, and of all.

    Raises:
        RunError: A run is damaged, or its data cannot be read.
    """
    runs = [run for run in zoo.runs() if run.result["status"] == "finished"]
    options = {
        "num_directions": num_directions,
        "cap": cap,
        "normalization": normalization,
        "seed": seed,
        "sources": sources,
    }
    rows: list[dict[str, Any]] = []
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        measured = Parallel(return_as="generator", batch_size=1)(
            delayed(_rows)(run, tuple(cutoffs), {**options, "sources": sources}) for run in runs
        )
        for index, some in enumerate(measured):
            rows += some
            if on_progress is not None:
                on_progress(index + 1, len(runs))
    return pd.DataFrame(rows)


def radii_of(
    run: Run, cutoffs: Sequence[float] = CUTOFFS, sources: Sources | None = None, **options: Any
) -> BasinRadii | str:
    """Return a run's radii for those cutoffs that its loss leaves room below; else why there are none.

    Raises:
        RunError: The run is damaged, or its data cannot be read.
    """
    loss = float(run.result["train_loss"])
    if not (possible := tuple(cutoff for cutoff in cutoffs if loss <= CLEARANCE * cutoff)):
        return f"its own loss, {loss:.3g}, leaves no room below a cutoff of {max(cutoffs)}"
    trained = load_trained(run, sources=sources)
    try:
        return basin_radii(trained, cutoffs=possible, **options)
    except WidemarginError as error:
        return str(error)


def _rows(run: Run, cutoffs: tuple[float, ...], options: dict[str, Any]) -> list[dict[str, Any]]:
    config, result = run.config, run.result
    common = {
        "run": run.folder.name,
        "configuration": config.configuration_key,
        "poison_factor": config.training.poison.factor,
        **{name: result[name] for name in ("train_accuracy", "test_accuracy", "gap", "train_loss")},
    }
    with one_torch_thread():
        radii = radii_of(run, cutoffs, **options)
    if isinstance(radii, str):
        return [{**common, "cutoff": cutoff, "why_left_out": radii} for cutoff in cutoffs]
    volumes = {volume.cutoff: volume for volume in basin_volumes(radii)}
    rows = []
    for cutoff in cutoffs:
        if cutoff not in volumes:
            why = f"its own loss, {result['train_loss']:.3g}, leaves no room below {cutoff}"
            rows.append({**common, "cutoff": cutoff, "why_left_out": why})
            continue
        volume = volumes[cutoff]
        rows.append(
            {
                **common,
                "cutoff": cutoff,
                "mean_radius": radii.mean(cutoff).value,
                "median_radius": radii.median(cutoff).value,
                "log10_volume": volume.log10_volume,
                "num_free": volume.num_free,
                "effective_sample_size": volume.effective_sample_size,
                "largest_share": volume.largest_share,
                "share_censored": volume.share_censored,
                "why_left_out": "",
            }
        )
    return rows
