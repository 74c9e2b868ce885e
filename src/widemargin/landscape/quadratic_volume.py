"""The volume of a basin from the curvature at its minimum alone."""

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from widemargin.curvature import CurvatureProduct
from widemargin.curvature.lanczos import KrylovSpace
from widemargin.errors import InvalidInputError
from widemargin.landscape.crossings import check_search, loss_at_minimum
from widemargin.landscape.evaluation import Evaluation
from widemargin.landscape.preconditioners import MeanCurvature, coordinates, damping
from widemargin.landscape.volume import log_unit_ball
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["quadratic_volume"]

Doubles: TypeAlias = NDArray[np.float64]

MAX_EXACT = 1000
"""Up to so many parameters the determinant is that of the whole Hessian."""

LN10 = math.log(10)


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
    if num_probes < 2 or num_steps < 2:
        raise InvalidInputError(f"num_probes and num_steps must be 2 or more, got {num_probes} and {num_steps}.")
    with trained.borrowed() as network:
        loss = loss_at_minimum(Evaluation(trained), (cutoff,))
        product = CurvatureProduct(trained, scale=coordinates(network, normalization))
        num_free = int(product.is_free.sum())
        if num_free <= MAX_EXACT:
            nodes = torch.linalg.eigvalsh(MeanCurvature(product).dense()).cpu().numpy()[None]
            weights = np.full_like(nodes, 1 / num_free)
        else:
            nodes, weights = _quadratures(product, num_probes, num_steps, seed)
    blend = damping(cutoff=cutoff, loss=loss, cap=cap)
    log_determinants = num_free * (weights * np.log(np.maximum(nodes, 0) + blend)).sum(axis=1)
    log_volume = log_unit_ball(num_free) + num_free / 2 * math.log(2 * (cutoff - loss)) - log_determinants.mean() / 2
    caveats = [*product.caveats, "Holds as far as the loss is quadratic up to the cutoff."]
    if nodes.min() < -blend:
        caveats.append("There are directions of negative curvature: they count as flat.")
    error = None if len(nodes) == 1 else float(log_determinants.std(ddof=1)) / 2 / math.sqrt(len(nodes)) / LN10
    return Estimate(float(log_volume / LN10), error, caveats=tuple(caveats))


def _quadratures(product: CurvatureProduct, num_probes: int, num_steps: int, seed: int) -> tuple[Doubles, Doubles]:
    """Return nodes and weights [probes, steps] whose sums Σ w f(λ) are the mean of f over the spectrum."""
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.zeros((2, num_probes, num_steps))
    for row, probe in enumerate(product.signs(num_probes, generator)):
        krylov = KrylovSpace(product, capacity=num_steps, generator=generator, start=probe)
        while krylov.size < num_steps and krylov.expand():
            pass  # an invariant space is found: the quadrature is exact already
        values, vectors = np.linalg.eigh(krylov.matrix.numpy())
        nodes[row, : krylov.size], weights[row, : krylov.size] = values, vectors[0] ** 2
    return nodes, weights
