"""The volume of a basin from the curvature at its minimum alone."""

import math

import numpy as np

from widemargin.curvature import CurvatureProduct, SpectralDensity
from widemargin.landscape.crossings import check_search, loss_at_minimum
from widemargin.landscape.evaluation import Evaluation
from widemargin.landscape.preconditioners import coordinates, damping
from widemargin.landscape.volume import LN10, log_unit_ball
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["quadratic_volume"]

MAX_EXACT = 1000
"""Up to so many parameters the determinant is that of the whole Hessian."""


def quadratic_volume(
    trained: TrainedModel,
    *,
    cutoff: float = 0.1,
    normalization: Normalization = "filter",
    cap: float = 1.0,
    num_probes: int = 10,
    num_steps: int = 80,
    seed: int = 0,
) -> Estimate:
    """Return log10 of the volume that the basin would have if the loss were as quadratic as it is at the minimum.

    With loss L₀ and Hessian H at the minimum, in the coordinates of :func:`basin_volume`, it is that of the ellipsoid
    xᵀHx / 2(cutoff − L₀) + ‖x‖² / cap² ≤ 1, which lies within the quadratic's basin and within the cap: a ball of
    radius ``cap`` where the loss is flat. Up to 1,000 parameters its determinant is exact; beyond, it is estimated by
    stochastic Lanczos quadrature.

    Args:
        trained: The network with its training data.
        cutoff: Mean training loss that bounds the basin.
        normalization: Coordinates that distances are measured in.
        cap: Radius of the ball that the basin is confined to.
        num_probes: How many probes the quadrature is averaged over.
        num_steps: How many Lanczos steps each of them is given.
        seed: Seed of the probes.

    Raises:
        InvalidInputError: The minimum's own loss is not below the cutoff, or an option is out of range.

    Source: Ubaru, Chen and Saad 2017, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
    """
    check_search(cutoffs=(cutoff,), num_directions=1, cap=cap)
    with trained.borrowed():
        evaluation = Evaluation(trained)
        loss = loss_at_minimum(evaluation, (cutoff,))
        groups = evaluation.space.groups(evaluation.center, normalization)
        density = SpectralDensity.of(
            CurvatureProduct(trained, scale=coordinates(groups)),
            num_probes=num_probes,
            num_steps=num_steps,
            max_exact=MAX_EXACT,
            seed=seed,
        )
    blend = damping(cutoff=cutoff, loss=loss, cap=cap)
    log_det = density.integral(lambda curvatures: np.log(np.maximum(curvatures, 0) + blend))
    num_free = groups.num_free
    log_volume = log_unit_ball(num_free) + num_free / 2 * math.log(2 * (cutoff - loss)) - log_det.value / 2
    caveats = groups.caveats + log_det.caveats + ("Holds as far as the loss is quadratic up to the cutoff.",)
    if density.nodes.min() < -blend:
        caveats += ("There are directions of negative curvature: they count as flat.",)
    error = None if log_det.standard_error is None else log_det.standard_error / 2 / LN10
    return Estimate(log_volume / LN10, error, caveats=caveats)
