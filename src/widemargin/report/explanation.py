"""Why training finds good minima and not bad ones: what a zoo with poison shows, for the report and for machines."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import spearmanr

from widemargin.data import Sources
from widemargin.errors import InvalidInputError
from widemargin.landscape import (
    BasinRadii,
    BasinVolume,
    DecisionRegions,
    Surface,
    Walk,
    basin_volumes,
    decision_regions,
    loss_along,
    loss_surface,
    points_along,
)
from widemargin.margins import margin_distribution
from widemargin.measures import performance
from widemargin.trained_model import TrainedModel
from widemargin.training import fit_quadratic_model, fit_support_vector_machine
from widemargin.zoo import CUTOFFS, Minefield, Run, Zoo, basin_table, load_trained, minefield, radii_of, sources_of

__all__ = ["Baseline", "Boundary", "Explanation", "Minimum", "explain"]

Doubles: TypeAlias = NDArray[np.float64]

WALK_REACH = 0.25
NUM_WALK_POINTS = 51
"""Places of the slider, from −reach over 0 to reach."""

NUM_RAYS = 24
NUM_RAY_POINTS = 41
NEAREST = 1e-4
MAX_BOUNDARIES = 6
FEWEST_STARTS = 4
FITS = 1.0
"""A minimum is a network with this training accuracy; the best of the others stand in where there is none."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """One network close up.

    Attributes:
        run: Its key.
        poison_factor: β of its training.
        train_accuracy: Share of training examples that it classifies correctly.
        test_accuracy: … of test examples.
        train_loss: Mean clean training loss.
        median_margin: Median first-order distance of training examples to the boundary in the input.
        num_parameters: How many numbers its training adjusted.
        regions: Its decision regions; None where inputs are not points of a plane, like the next.
        walk_regions: Its decision regions along the walk, one frame a coefficient.
        surface: Its loss over a plane.
        walk: Loss, accuracy and curvature along one direction.
        ray_coefficients: Distances at which the loss along random directions is given.
        ray_losses: That loss.
        radii: Its basin's radii; None where its loss leaves no room below the cutoffs.
        volumes: Its basin's volume for each cutoff.
    """

    run: str
    poison_factor: float
    train_accuracy: float
    test_accuracy: float
    train_loss: float
    median_margin: float
    num_parameters: int
    regions: DecisionRegions | None
    walk_regions: DecisionRegions | None
    surface: Surface
    walk: Walk
    ray_coefficients: Float[Doubles, " points"]
    ray_losses: Float[Doubles, "rays points"]
    radii: BasinRadii | None
    volumes: tuple[BasinVolume, ...]

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences on when not to believe what was measured, each once; what volumes say of themselves left out."""
        measured = (self.regions, self.walk_regions, self.surface, self.walk, self.radii)
        return tuple(dict.fromkeys(caveat for one in measured if one is not None for caveat in one.caveats))


@dataclass(frozen=True, eq=False)
class Boundary:
    """The decision regions of one network among rising poison factors."""

    poison_factor: float
    test_accuracy: float
    regions: DecisionRegions


@dataclass(frozen=True)
class Baseline:
    """A classical model on the same data; margins are first-order distances in the input."""

    name: str
    train_accuracy: float
    test_accuracy: float
    median_margin: float
    num_parameters: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a zoo with poison shows.

    Attributes:
        name: Name of the study.
        description: What the study is for.
        data: Name of the data.
        table: One row a network and cutoff, see :func:`widemargin.zoo.basin_table`.
        cutoffs: Losses that bound the basins.
        good: The network that generalizes best of those that fit their training set.
        bad: … worst.
        boundaries: Decision regions at rising poison factors.
        field: Bad minima beside a good training's path, if asked for.
        baselines: Classical models on the same data.
        num_directions: Directions per network that radii and volumes rest on.
    """

    name: str
    description: str
    data: str
    table: pd.DataFrame
    cutoffs: tuple[float, ...]
    good: Minimum
    bad: Minimum
    boundaries: tuple[Boundary, ...]
    field: Minefield | None
    baselines: tuple[Baseline, ...]
    num_directions: int

    @property
    def networks(self) -> pd.DataFrame:
        """One row a network."""
        return self.table.drop_duplicates("run").set_index("run")

    @property
    def fitting(self) -> pd.DataFrame:
        """One row a network that fits its training set."""
        return self.networks[self.networks["train_accuracy"] >= FITS]

    def basins(self, cutoff: float) -> pd.DataFrame:
        """Return the networks that fit their training set and have a basin below a cutoff, one row each."""
        is_here = (self.table["cutoff"] == cutoff) & (self.table["why_left_out"] == "")
        return self.table[is_here & (self.table["train_accuracy"] >= FITS)].set_index("run")

    def volume_correlation(self, cutoff: float) -> float:
        """Return Spearman's rank correlation of log volume with the gap over networks that fit; NaN for too few."""
        basins = self.basins(cutoff)  # volumes of different dimensions have no order
        return _rank_correlation(basins, "log10_volume") if basins["num_free"].nunique() == 1 else float("nan")

    def radius_correlation(self, cutoff: float) -> float:
        """Return Spearman's rank correlation of the mean radius with the gap, as above."""
        return _rank_correlation(self.basins(cutoff), "mean_radius")

    @property
    def poison_correlation(self) -> float:
        """Spearman's rank correlation of the poison factor with the gap, over all networks."""
        return _rank_correlation(self.networks, "poison_factor")

    def volume_ratio(self, cutoff: float) -> float | None:
        """Return by how many orders of magnitude the good basin is larger than the bad; None if one is missing."""
        found = [{volume.cutoff: volume for volume in minimum.volumes} for minimum in (self.good, self.bad)]
        if any(cutoff not in volumes for volumes in found) or found[0][cutoff].num_free != found[1][cutoff].num_free:
            return None
        return found[0][cutoff].log10_ratio(found[1][cutoff]).value

    def as_dict(self) -> dict[str, Any]:
        """Return the figures that the explanation rests on, for machines."""
        networks = self.networks
        factors = sorted(set(networks["poison_factor"].tolist()))
        by_factor = [(factor, networks[networks["poison_factor"] == factor]) for factor in factors]
        return {
            "study": self.name,
            "networks": len(networks),
            "networks_that_fit": len(self.fitting),
            "good": _figures(self.good),
            "bad": _figures(self.bad),
            "poison_gap_rank_correlation": _or_none(self.poison_correlation),
            "by_cutoff": {
                str(cutoff): {
                    "networks": len(self.basins(cutoff)),
                    "volume_gap_rank_correlation": _or_none(self.volume_correlation(cutoff)),
                    "radius_gap_rank_correlation": _or_none(self.radius_correlation(cutoff)),
                    "orders_of_magnitude_between_good_and_bad": self.volume_ratio(cutoff),
                }
                for cutoff in self.cutoffs
            },
            "by_poison_factor": [
                {
                    "poison_factor": float(factor),
                    "networks": len(rows),
                    "networks_that_fit": int((rows["train_accuracy"] >= FITS).sum()),
                    "mean_gap": float(rows["gap"].mean()),
                    "lowest_test_accuracy_of_those_that_fit": _or_none(
                        rows.loc[rows["train_accuracy"] >= FITS, "test_accuracy"].min()
                    ),
                }
                for factor, rows in by_factor
            ],
            "baselines": [vars(baseline) for baseline in self.baselines],
        }


def explain(
    zoo: Zoo,
    *,
    num_directions: int = 100,
    num_surface_points: int = 41,
    num_starts: int = 0,
    minefield_steps: int | None = None,
    seed: int = 0,
    jobs: int = -1,
    sources: Sources | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Explanation:
    """Return why training finds good minima and not bad ones, as a zoo with poison shows it.

    Args:
        zoo: A zoo whose runs differ in their poison factor.
        num_directions: Directions per network for radii and volumes.
        num_surface_points: Points along each side of the loss surfaces.
        num_starts: Points of a good training's path that bad minima are looked for from; 0 for no minefield.
        minefield_steps: Steps of each of those trainings; default: as many as the runs have.
        seed: Of directions, minefield and maps.
        jobs: Worker processes.
        sources: Where the data is now; default: where it was when the runs were trained.
        on_progress: Called with what is being done and the share of it that is.

    Raises:
        InvalidInputError: Fewer than two networks, none with poison, or one to three starts.
        RunError: A run is damaged, or its data cannot be read.
    """
    if 0 < num_starts < FEWEST_STARTS:
        raise InvalidInputError(f"num_starts must be 0 or at least {FEWEST_STARTS}, got {num_starts}.")
    tell = on_progress or (lambda what, share: None)
    table = basin_table(
        zoo,
        num_directions=num_directions,
        seed=seed,
        jobs=jobs,
        sources=sources,
        on_progress=lambda done, num: tell("measuring basins", done / num),
    )
    if table.empty or table["run"].nunique() < 2 or not (table["poison_factor"] > 0).any():
        raise InvalidInputError(
            f"an explanation needs two finished networks or more, some of them poisoned, but {zoo.folder} holds "
            f"{0 if table.empty else table['run'].nunique()}, or none with poison. Train a study with "
            "training.poison.factor on its grid."
        )
    networks = table.drop_duplicates("run").set_index("run")
    fitting = networks[networks["train_accuracy"] >= min(FITS, networks["train_accuracy"].nlargest(2).iloc[-1])]
    by_gap = fitting.sort_values("gap", kind="stable").index
    runs = [Run(zoo.runs_folder / str(by_gap[place])) for place in (0, -1)]
    minima = []
    for number, run in enumerate(runs):
        tell("looking at a good and a bad minimum", number / 2)
        minima.append(_minimum(run, num_directions, num_surface_points, seed, sources))
    boundaries = _boundaries(zoo, networks, sources)
    config = runs[0].config
    field = None
    if num_starts:
        num_steps = minefield_steps or config.training.num_steps
        natural = config.training.poison.model_copy(update={"factor": 0.0})
        training = config.training.model_copy(update={"poison": natural})
        field = minefield(
            config.model_copy(update={"training": training}),
            num_starts=num_starts,
            num_steps=num_steps,
            seed=seed,
            sources=sources or sources_of(runs[0]),
            on_step=lambda step: tell("looking for bad minima along a good path", step / num_steps),
        )
    study = zoo.study
    return Explanation(
        study.name if study else zoo.folder.name,
        study.description if study else "",
        config.data.name,
        table,
        CUTOFFS,
        minima[0],
        minima[1],
        boundaries,
        field,
        _baselines(load_trained(runs[0], sources=sources)),
        num_directions,
    )


def _minimum(run: Run, num_directions: int, num_surface_points: int, seed: int, sources: Sources | None) -> Minimum:
    trained = load_trained(run, sources=sources)
    coefficients = WALK_REACH * np.linspace(-1, 1, NUM_WALK_POINTS) ** 5  # slow near the minimum, as the paper's
    walk = loss_along(trained, coefficients=coefficients, seed=seed, curvature=True)
    regions = walk_regions = None
    with contextlib.suppress(InvalidInputError):  # inputs that are not points of a plane have no such picture
        regions = decision_regions(trained, num_points=160)
        walk_regions = decision_regions(trained, num_points=64, at=points_along(trained, coefficients, seed=seed))
    found = radii_of(run, sources=sources, num_directions=num_directions, seed=seed)
    radii = None if isinstance(found, str) else found
    ray_coefficients = np.geomspace(NEAREST, WALK_REACH, NUM_RAY_POINTS)  # bad basins end hundreds of times earlier
    rays = [loss_along(trained, coefficients=ray_coefficients, seed=seed + 1 + ray).losses for ray in range(NUM_RAYS)]
    result = run.result
    return Minimum(
        run.folder.name,
        run.config.training.poison.factor,
        result["train_accuracy"],
        result["test_accuracy"],
        result["train_loss"],
        _median_margin(trained),
        sum(parameter.numel() for parameter in trained.network.parameters()),
        regions,
        walk_regions,
        loss_surface(trained, reach=WALK_REACH, num_points=num_surface_points, seed=seed),
        walk,
        ray_coefficients,
        np.array(rays),
        radii,
        () if radii is None else basin_volumes(radii),
    )


def _boundaries(zoo: Zoo, networks: pd.DataFrame, sources: Sources | None) -> tuple[Boundary, ...]:
    """Return the decision regions of the network with the median test accuracy at some rising poison factors."""
    factors = np.array(sorted(networks["poison_factor"].unique()))
    gaps = networks.groupby("poison_factor")["gap"].mean().to_numpy()
    if len(factors) > MAX_BOUNDARIES:  # as evenly over the gaps as can be
        wanted = np.linspace(gaps.min(), gaps.max(), MAX_BOUNDARIES)
        factors = factors[np.unique([int(np.abs(gaps - gap).argmin()) for gap in wanted])]
    boundaries = []
    for factor in factors:
        rows = networks[networks["poison_factor"] == factor].sort_values("test_accuracy")
        key = str(rows.index[len(rows) // 2])
        try:
            regions = decision_regions(load_trained(Run(zoo.runs_folder / key), sources=sources), num_points=120)
        except InvalidInputError:  # inputs that are not points of a plane
            return ()
        boundaries.append(Boundary(float(factor), float(rows.loc[key, "test_accuracy"]), regions))
    return tuple(boundaries)


def _baselines(trained: TrainedModel) -> tuple[Baseline, ...]:
    inputs, labels = trained.train_data
    test_inputs, test_labels = trained.test_data
    num_classes = int(torch.cat([labels, test_labels]).max()) + 1
    found = []
    for name, fitted in (
        ("linear on quadratic features", fit_quadratic_model),
        ("support vector machine", fit_support_vector_machine),
    ):
        model = fitted(inputs, labels, num_classes)
        beside = TrainedModel(model, (inputs, labels), (test_inputs, test_labels))
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        accuracies = [performance(beside, split).accuracy for split in ("train", "test")]
        found.append(Baseline(name, accuracies[0], accuracies[1], _median_margin(beside), num_parameters))
    return tuple(found)


def _median_margin(trained: TrainedModel) -> float:
    """Return the median distance to the decision boundary in the input, in the input's own units."""
    return float(np.median(margin_distribution(trained, ["input"]).distances[:, 0]))


def _rank_correlation(rows: pd.DataFrame, column: str) -> float:
    if len(rows) < 3 or rows[column].nunique() < 2 or rows["gap"].nunique() < 2:
        return float("nan")
    return float(spearmanr(rows[column], rows["gap"]).statistic)


def _figures(minimum: Minimum) -> dict[str, Any]:
    return {
        "run": minimum.run,
        "poison_factor": minimum.poison_factor,
        "train_accuracy": minimum.train_accuracy,
        "test_accuracy": minimum.test_accuracy,
        "train_loss": minimum.train_loss,
        "median_input_margin": minimum.median_margin,
        "log10_volumes": {str(volume.cutoff): volume.log10_volume for volume in minimum.volumes},
        "curvature": None
        if minimum.walk.curvatures is None
        else _or_none(float(minimum.walk.curvatures[NUM_WALK_POINTS // 2])),
    }


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
