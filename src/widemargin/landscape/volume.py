"""The volume of a minimum's basin, in logarithms."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from widemargin.curvature import CurvatureProduct
from widemargin.errors import InvalidInputError
from widemargin.landscape.basins import BasinRadii, basin_radii
from widemargin.landscape.crossings import Draw, check_search, first_crossings, loss_at_minimum
from widemargin.landscape.directions import Directions
from widemargin.landscape.evaluation import Evaluation
from widemargin.landscape.preconditioners import (
    MeanCurvature,
    Preconditioner,
    PreconditionerName,
    coordinates,
    damping,
)
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["LN10", "BasinVolume", "basin_volume", "basin_volumes", "log_unit_ball"]

Doubles: TypeAlias = NDArray[np.float64]

LN10 = math.log(10)

PRECISION = 1e-3
"""Of the radii, before interpolation: a relative error counts n times in a logarithm of a volume."""

NUM_ENDS = 2
"""Directions, both ways, at whose ends a preconditioner takes the curvature; each may hold 1 GiB of graphs."""

FEW = 10.0
"""Below this effective sample size the mean is that of its largest terms, and has no standard error to speak of."""


@dataclass(frozen=True, eq=False)
class BasinVolume:
    """The volume within which the loss stays below a cutoff, as seen along random directions.

    Attributes:
        log10_volume: Decimal logarithm of the volume [units of the normalized coordinates to the power n].
        standard_error: One standard error of ``log10_volume``; ``None`` where the effective sample size is below 10.
        num_free: The dimension n: how many parameters move.
        num_directions: The number of directions M, a direction and its opposite counted once.
        cap: How far from the minimum the basin is followed.
        cutoff: The mean training loss that bounds it.
        normalization: Coordinates that distances are measured in.
        preconditioner: The change of coordinates, if any.
        seed: Where the directions come from.
        convergence: ``log10_volume`` after the first m directions.
        effective_sample_size: (Σ w)² / Σ w², w the mean of radiusⁿ both ways along a direction.
        largest_share: The largest w as a share of their sum.
        share_censored: Share of the rays that stay below the cutoff up to the cap.
        num_evaluations: Passes over the training data, those for several cutoffs counted together; products with the
            Hessian not included.
        caveats: Sentences on when not to believe the number.
    """

    log10_volume: float
    standard_error: float | None
    num_free: int
    num_directions: int
    cap: float
    cutoff: float
    normalization: str
    preconditioner: str | None
    seed: int
    convergence: Float[Doubles, " directions"]
    effective_sample_size: float
    largest_share: float
    share_censored: float
    num_evaluations: int
    caveats: tuple[str, ...] = ()

    def log10_ratio(self, other: "BasinVolume") -> Estimate:
        """Return by how many orders of magnitude this basin is larger than another one.

        Raises:
            InvalidInputError: The two were not measured in the same way.
        """
        names = ("num_free", "num_directions", "cap", "cutoff", "normalization", "preconditioner")
        differing = [
            f"{name} ({getattr(self, name)} and {getattr(other, name)})"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]
        if differing:
            raise InvalidInputError(
                f"volumes can be compared only if they were measured in the same way, but {', '.join(differing)} "
                "differ. Measure both with the same settings."
            )
        errors = (self.standard_error, other.standard_error)
        known = [error for error in errors if error is not None]
        error = math.hypot(*known) if len(known) == len(errors) else math.inf
        caveats = tuple(dict.fromkeys(self.caveats + other.caveats))
        return Estimate(self.log10_volume - other.log10_volume, error, caveats=caveats)


def basin_volume(
    trained: TrainedModel,
    *,
    cutoff: float = 0.1,
    num_directions: int = 100,
    preconditioner: PreconditionerName | None = None,
    rank: int = 20,
    normalization: Normalization = "filter",
    cap: float = 1.0,
    seed: int = 0,
) -> BasinVolume:
    """Return the volume of the basin around a minimum: the mean of radiusⁿ over directions, times the unit ball's.

    Without a preconditioner this is the paper's estimator, along filter-normalized directions. Its mean is dominated
    by the few largest radii, and the larger n, the further it falls short. A preconditioner P takes steps along P u,
    u uniform on the unit sphere, in coordinates in which a unit step moves each filter by about its norm. Having
    determinant 1 it leaves the volume as it is, whatever it was made from; but the more alike it makes the radii, the
    less the mean falls short.

    Args:
        trained: The network with its training data.
        cutoff: Mean training loss that bounds the basin.
        num_directions: How many directions; each is followed both ways.
        preconditioner: ``"diagonal"``, ``"low-rank"`` or ``"full"`` (up to 5,000 parameters), from the curvature
            between the minimum and the cutoff along a few other rays; ``None`` for the paper's estimator.
        rank: How many eigenvalues ``"low-rank"`` takes.
        normalization: Coordinates that distances are measured in; biases stay fixed but under ``"none"``.
        cap: The basin is followed up to this distance from the minimum.
        seed: Where directions and probes come from.

    Raises:
        InvalidInputError: The minimum's own loss is not below the cutoff, an option is out of range, or there is no
            weight that the normalization could move.

    Source: Huang et al. 2019 (arXiv 1906.03291), section 5; preconditioned as in arXiv 2501.18812.

    Example:
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.eye(2))
        >>> trained = TrainedModel(
        ...     net, (torch.eye(2), torch.tensor([0, 1])),
        ...     loss=lambda logits, labels: ((logits - torch.eye(2)) ** 2).sum(dim=1) / 2,
        ... )  # the loss is a quarter of the squared distance: a ball of radius 0.2 in 4 dimensions
        >>> volume = basin_volume(trained, cutoff=0.01, normalization="none")
        >>> round(10**volume.log10_volume, 6), round(np.pi**2 / 2 * 0.2**4, 6)
        (0.007896, 0.007896)
    """
    if preconditioner is None:
        radii = basin_radii(
            trained,
            cutoffs=(cutoff,),
            num_directions=num_directions,
            cap=cap,
            precision=PRECISION,
            normalization=normalization,
            seed=seed,
        )
        return basin_volumes(radii)[0]
    check_search(cutoffs=(cutoff,), num_directions=num_directions, cap=cap)
    with trained.borrowed() as network:
        evaluation = Evaluation(trained)
        loss = loss_at_minimum(evaluation, (cutoff,))
        groups = evaluation.space.groups(evaluation.center, normalization)
        scale = coordinates(groups)
        product = CurvatureProduct(trained, scale=scale)
        random = Directions.around(network, "none", seed=seed)
        search = partial(first_crossings, evaluation, cutoffs=(cutoff,), loss=loss, precision=PRECISION)

        def rays(change: Callable[[Tensor], Tensor], first: int = 0) -> Draw:
            def draw(indices: Sequence[int]) -> tuple[Tensor, Doubles]:
                drawn = random.stacked([first + index for index in indices]).double() * product.is_free
                steps = change(drawn / drawn.norm(dim=1, keepdim=True))
                caps = cap / steps.norm(dim=1).cpu().numpy()  # the cap is a ball in the unchanged coordinates
                return (steps * scale).to(evaluation.center), caps

            return draw

        others = rays(lambda units: units, first=num_directions)  # none that the volume is measured along
        reached = search(others, num_directions=NUM_ENDS).radii[:, 0]
        at_ends = [
            CurvatureProduct(trained, matrix="gauss-newton", scale=scale, at=end)
            for end in _ends(evaluation, others(range(NUM_ENDS))[0], reached)
        ]
        curvature = MeanCurvature(product, tuple(at_ends))
        blend = damping(cutoff=cutoff, loss=loss, cap=cap)
        change = Preconditioner.of(curvature, preconditioner, damping=blend, rank=rank, seed=seed)
        found = search(rays(change), num_directions=num_directions)
    return _volume(
        found.radii[:, 0],
        found.is_censored[:, 0],
        num_free=groups.num_free,
        cap=cap,
        cutoff=cutoff,
        normalization=normalization,
        preconditioner=preconditioner,
        seed=seed,
        num_evaluations=evaluation.num_evaluations,
        caveats=groups.caveats + product.caveats + change.caveats + found.caveats,
    )


def basin_volumes(radii: BasinRadii) -> tuple[BasinVolume, ...]:
    """Return the paper's estimate of the volume for each cutoff that radii were measured for.

    Raises:
        InvalidInputError: The radii are along directions of the caller's own.
    """
    if radii.seed is None:
        raise InvalidInputError(
            "a volume needs radii along random directions, got some along given ones. Measure radii with a seed."
        )
    return tuple(
        _volume(
            radii.radii[:, column],
            radii.is_censored[:, column],
            num_free=radii.num_free,
            cap=radii.cap,
            cutoff=cutoff,
            normalization=radii.normalization,
            preconditioner=None,
            seed=radii.seed,
            num_evaluations=radii.num_evaluations,
            caveats=radii.caveats,
        )
        for column, cutoff in enumerate(radii.cutoffs)
    )


def _volume(
    radii: Float[Doubles, " rays"],
    is_censored: NDArray[np.bool_],
    *,
    num_free: int,
    caveats: tuple[str, ...],
    **setting: Any,
) -> BasinVolume:
    """Return ω_n times the mean of radiusⁿ; the two rays along a direction are one draw."""
    log_weights = logsumexp(num_free * np.log(radii).reshape(-1, 2), axis=1) - math.log(2)
    num_directions = len(log_weights)
    log_total = logsumexp(log_weights)
    effective = math.exp(2 * log_total - logsumexp(2 * log_weights))
    log_means = np.logaddexp.accumulate(log_weights) - np.log(np.arange(1, num_directions + 1))
    convergence = (log_unit_ball(num_free) + log_means) / LN10
    share_censored = float(is_censored.mean())
    error = None
    if effective >= FEW:
        error = math.sqrt(max(num_directions / effective - 1, 0) / (num_directions - 1)) / LN10
    else:
        caveats += (
            f"Lower bound: {num_directions} directions count for {effective:.1f}; the mean is that of their largest "
            "radii, and the larger ones that were not drawn are missing.",
        )
    if share_censored:
        caveats += (f"Lower bound: {share_censored:.0%} of the rays stay below the cutoff up to the cap.",)
    return BasinVolume(
        log10_volume=float(convergence[-1]),
        standard_error=error,
        num_free=num_free,
        num_directions=num_directions,
        convergence=convergence,
        effective_sample_size=effective,
        largest_share=float(np.exp(log_weights.max() - log_total)),
        share_censored=share_censored,
        caveats=caveats,
        **setting,
    )


def _ends(
    evaluation: Evaluation, steps: Float[Tensor, "directions parameters"], radii: Float[Doubles, " rays"]
) -> tuple[Mapping[str, Tensor], ...]:
    """Return the parameters right before the crossings along directions and their opposites."""
    distances = torch.from_numpy(radii / (1 + PRECISION)).to(steps).view(-1, 2) * steps.new_tensor([1, -1])
    points = evaluation.center + distances.unsqueeze(2) * steps.unsqueeze(1)
    return tuple(evaluation.space.named(point) for point in points.flatten(0, 1))


def log_unit_ball(num: int) -> float:
    """Return the natural logarithm of the volume of the unit ball of so many dimensions."""
    return num / 2 * math.log(math.pi) - math.lgamma(1 + num / 2)
