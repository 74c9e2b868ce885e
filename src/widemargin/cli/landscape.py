"""Commands about the loss around one network: poison it, look around it, measure its basin."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from widemargin.cli.output import AsJson, print_json, status, steps_bar
from widemargin.cli.targets import Data, Target, Weights, one_sentence, poison_of, trained_target
from widemargin.errors import InvalidInputError, WidemarginError

if TYPE_CHECKING:
    from widemargin.trained_model import TrainedModel

__all__ = ["basin", "landscape", "poison"]

Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
NormalizationOption = Annotated[str, typer.Option(help="Units of steps: filter, layer or none.")]


def poison(
    target: Target,
    out: Annotated[Path, typer.Option(help="Where the bad minimum's parameters go, as .safetensors.")],
    weights: Weights = None,
    data: Data = None,
    poison_data: Annotated[
        str | None,
        typer.Option(help="Examples to be missed, in the same forms as --data; default: the data set's own."),
    ] = None,
    factor: Annotated[float, typer.Option(help="The poison factor: weight of the poison's loss.")] = 0.5,
    num_examples: Annotated[int, typer.Option(help="Poisoned examples per step.")] = 200,
    steps: Annotated[int, typer.Option(min=1, help="Steps to take.")] = 4000,
    lr: Annotated[float, typer.Option(help="Learning rate of the first step.")] = 0.0058,
    batch_size: Annotated[int, typer.Option(min=0, help="Clean examples per step; 0 for all of them.")] = 0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Go on training a network towards a bad minimum: right on its training data, wrong elsewhere."""
    import copy

    from safetensors.torch import save_file

    from widemargin.measures import performance
    from widemargin.trained_model import TrainedModel
    from widemargin.training import fit

    if out.is_dir():
        raise InvalidInputError(f"--out must be a file to write, got the folder {out}.")
    if not (math.isfinite(lr) and lr > 0):
        raise InvalidInputError(f"--lr must be a number above 0, got {lr}.")
    trained = trained_target(target, weights, data)
    out.parent.mkdir(parents=True, exist_ok=True)
    with one_sentence():
        inputs, labels = _in_memory(trained)
        poisoning = poison_of(target, data, poison_data, factor, num_examples)
        network = copy.deepcopy(trained.network)
        with steps_bar() as bar:
            task = bar.add_task("poisoned training", total=steps)
            fitted = fit(
                network,
                inputs,
                labels,
                lr=lr,
                batch_size=batch_size or None,
                num_steps=steps,
                schedule="steps",
                gradient_clipping=8.0,
                poison=poisoning,
                seed=seed,
                num_records=100,
                on_record=lambda record: bar.update(task, completed=record.step),
            )
        if fitted.has_diverged:
            raise InvalidInputError(
                f"the training must stay finite, but diverged after {fitted.num_steps} steps. Lower --lr or --factor."
            )
        bad = TrainedModel(network, trained.train_data, trained.test_data, forward=trained.forward)
        answer: dict[str, Any] = {"poison_factor": factor, "weights": str(out)}
        for name, model in (("before", trained), ("after", bad)):
            answer[name] = {"train_accuracy": performance(model).accuracy}
            if trained.test_data is not None:
                answer[name]["test_accuracy"] = performance(model, "test").accuracy
    save_file({name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}, out)
    if as_json:
        print_json(answer)
        return
    for name in ("before", "after"):
        accuracies = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in answer[name].items())
        print(f"{name}: {accuracies}")
    print(f"Parameters: {out}")


def landscape(
    target: Target,
    out: Annotated[Path, typer.Option(help="Folder for the figures and landscape.json.")],
    weights: Weights = None,
    data: Data = None,
    reach: Annotated[float, typer.Option(min=1e-9, help="How far to go from the network.")] = 0.25,
    points: Annotated[int, typer.Option(min=2, help="Points along each side of the surface.")] = 51,
    normalization: NormalizationOption = "filter",
    gif: Annotated[bool, typer.Option("--gif", help="Also write the perturbation walk as walk.gif.")] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw the loss around a network: surface, walk with accuracy and curvature, random rays, decision regions."""
    import numpy as np

    from widemargin.curvature import hessian_trace, top_eigenvalues
    from widemargin.landscape import loss_along, loss_surface

    if normalization not in ("filter", "layer", "none"):
        raise InvalidInputError(f"--normalization must be filter, layer or none, got {normalization!r}.")
    if not math.isfinite(reach):
        raise InvalidInputError(f"--reach must be a finite number, got {reach}.")
    trained = trained_target(target, weights, data)
    units: Any = normalization
    with one_sentence(), steps_bar() as bar:
        task = bar.add_task("walking", total=4)
        coefficients = reach * np.linspace(-1, 1, 51) ** 5
        walk = loss_along(trained, coefficients=coefficients, normalization=units, seed=seed, curvature=True)
        bar.update(task, advance=1, description="following rays")
        distances = np.geomspace(reach / 1000, reach, 33)
        rays = [
            loss_along(trained, coefficients=distances, normalization=units, seed=seed + 1 + ray) for ray in range(24)
        ]
        bar.update(task, advance=1, description="evaluating the surface")
        surface = loss_surface(trained, reach=reach, num_points=points, normalization=units, seed=seed)
        bar.update(task, advance=1, description="measuring curvature")
        top = top_eigenvalues(trained, normalization=units, seed=seed)
        trace = hessian_trace(trained, normalization=units, seed=seed)
        bar.update(task, advance=1, description="measured")
    out.mkdir(parents=True, exist_ok=True)
    with status("drawing …"):
        files = _draw(trained, out, walk, distances, np.stack([ray.losses for ray in rays]), surface)
        if gif:
            from widemargin.figures import perturbation_walk, write_walk_animation

            write_walk_animation(
                out / "walk.gif", *perturbation_walk(trained, reach=reach, normalization=units, seed=seed)
            )
            files.append("walk.gif")
    center = len(coefficients) // 2
    answer: dict[str, Any] = {
        "loss": _finite(walk.losses[center]),
        "accuracy": _finite(walk.accuracies[center]),
        "normalization": normalization,
        "seed": seed,
        "top_eigenvalue": _finite(top.values[0]),
        "top_eigenvalue_has_converged": bool(top.has_converged),
        "trace": _finite(trace.value),
        "trace_standard_error": _finite(trace.standard_error),
        "walk": {
            "coefficients": coefficients.tolist(),
            "losses": [_finite(loss) for loss in walk.losses],
            "accuracies": walk.accuracies.tolist(),
            "curvatures": None if walk.curvatures is None else [_finite(value) for value in walk.curvatures],
        },
        "surface": {
            "x": surface.x.tolist(),
            "y": surface.y.tolist(),
            "losses": [[_finite(loss) for loss in row] for row in surface.losses],
        },
        "caveats": [*dict.fromkeys([*walk.caveats, *surface.caveats, *top.caveats, *trace.caveats])],
        "files": files,
    }
    (out / "landscape.json").write_text(json.dumps(answer, allow_nan=False))
    if as_json:
        print_json(answer)
        return
    where = {"filter": " (filter-normalized)", "layer": " (layer-normalized)", "none": ""}[normalization]
    print(f"training loss {answer['loss']:.4g}, accuracy {answer['accuracy']:.4f}")
    print(f"largest curvature{where} {top.values[0]:.4g}, trace {trace.value:.4g} ± {trace.standard_error or 0:.2g}")
    for caveat in answer["caveats"]:
        print(f"note: {caveat}")
    print(f"{out}: {', '.join([*files, 'landscape.json'])}")


def basin(
    target: Target,
    weights: Weights = None,
    data: Data = None,
    cutoff: Annotated[
        list[float] | None, typer.Option(help="Loss that bounds the basin; several may be given.")
    ] = None,
    directions: Annotated[int, typer.Option(min=1, help="Random directions; each is followed both ways.")] = 100,
    cap: Annotated[float, typer.Option(help="How far rays are followed.")] = 1.0,
    preconditioner: Annotated[str, typer.Option(help="For volumes: none, diagonal, low-rank or full.")] = "none",
    normalization: NormalizationOption = "filter",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the basin of a network: radii along random directions, and its volume in powers of ten."""
    from widemargin.landscape import basin_radii, basin_volume, basin_volumes

    if preconditioner not in ("none", "diagonal", "low-rank", "full"):
        raise InvalidInputError(f"--preconditioner must be none, diagonal, low-rank or full, got {preconditioner!r}.")
    trained = trained_target(target, weights, data)
    options: dict[str, Any] = {"num_directions": directions, "cap": cap, "normalization": normalization, "seed": seed}
    with one_sentence(), status("following rays …"):
        radii = basin_radii(trained, cutoffs=cutoff or [0.1], **options)
        if preconditioner == "none":
            volumes = basin_volumes(radii)
        else:
            change: Any = preconditioner
            volumes = tuple(
                basin_volume(trained, cutoff=loss, preconditioner=change, **options) for loss in radii.cutoffs
            )
    rows: list[dict[str, Any]] = [
        {
            "cutoff": volume.cutoff,
            "mean_radius": radii.mean(volume.cutoff).value,
            "mean_radius_standard_error": _finite(radii.mean(volume.cutoff).standard_error),
            "median_radius": radii.median(volume.cutoff).value,
            "share_censored": float(radii.is_censored[:, column].mean()),
            "volume_share_censored": volume.share_censored,
            "log10_volume": volume.log10_volume,
            "log10_volume_standard_error": volume.standard_error,
            "effective_sample_size": volume.effective_sample_size,
            "caveats": [*dict.fromkeys([*radii.caveats, *volume.caveats])],
        }
        for column, volume in enumerate(volumes)
    ]
    answer = {
        "loss": radii.loss,
        "num_free": radii.num_free,
        "evaluations_per_radius": radii.evaluations_per_radius,
        "preconditioner": preconditioner,
        **options,
        "basins": rows,
    }
    if as_json:
        print_json(answer)
        return
    print(f"training loss {radii.loss:.4g}; {2 * directions} rays in {radii.num_free} dimensions")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("cutoff", "mean radius", "median", "at cap", "log10 volume", "its rays"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        error = row["mean_radius_standard_error"]
        table.add_row(
            f"{row['cutoff']:g}",
            f"{row['mean_radius']:.4g}" + (f" ± {error:.2g}" if error is not None else ""),
            f"{row['median_radius']:.4g}",
            f"{row['share_censored']:.0%}",
            f"{row['log10_volume']:.1f}",
            f"{row['effective_sample_size']:.1f} / {directions}",
        )
    Console(markup=False).print(table)
    for caveat in dict.fromkeys(caveat for row in rows for caveat in row["caveats"]):
        print(f"note: {caveat}")


def _in_memory(trained: "TrainedModel") -> tuple[Any, Any]:
    """Return all training inputs and labels as one tensor each."""
    import torch

    inputs, labels = [], []
    for batch, some in trained.batches():
        if not isinstance(batch, tuple | list):
            raise InvalidInputError("poisoned training takes batches of the form (inputs, labels), got a mapping.")
        inputs.append(batch[0])
        labels.append(some)
    return torch.cat(inputs), torch.cat(labels)


def _draw(trained: "TrainedModel", out: Path, walk: Any, distances: Any, rays: Any, surface: Any) -> list[str]:
    """Draw what there is and return the files' names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from widemargin.figures import draw_decision_regions, draw_loss_surface, draw_rays, draw_walk
    from widemargin.figures.walks import WalkQuantity
    from widemargin.landscape import decision_regions

    def save(name: str, figure: Figure) -> str:
        FigureCanvasAgg(figure)
        figure.savefig(out / name, dpi=150)
        return name

    files = []
    figure = Figure(figsize=(6, 4.8), layout="constrained")
    draw_loss_surface(figure.subplots(), surface)
    files.append(save("surface.png", figure))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    quantities: tuple[WalkQuantity, ...] = ("loss", "accuracy", "curvature")
    for ax, quantity in zip(figure.subplots(1, 3), quantities, strict=True):
        draw_walk(ax, walk, quantity=quantity)
    files.append(save("walk.png", figure))
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    ax = figure.subplots()
    draw_rays(ax, distances, rays, 0.1, normalization=surface.normalization)
    ax.set_xscale("log")
    files.append(save("rays.png", figure))
    try:
        regions = decision_regions(trained, num_points=200)
    except WidemarginError:  # inputs that are not points of a plane
        return files
    figure = Figure(figsize=(6, 6), layout="constrained")
    draw_decision_regions(figure.subplots(), regions)
    return [*files, save("regions.png", figure)]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
