"""Trace and diagonal of the curvature."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.curvature.lanczos import KrylovSpace
from widemargin.curvature.products import CurvatureProduct, Matrix
from widemargin.curvature.two_vectors import sampled_trace
from widemargin.errors import InvalidInputError
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["Diagonal", "hessian_diagonal", "hessian_trace", "trace_beyond"]

PRODUCTS_PER_PROBE = 3


@dataclass(frozen=True, eq=False)
class Diagonal:
    """The diagonal of a symmetric matrix and how well it is known.

    Attributes:
        values: One number per parameter [loss per squared unit of a step], float64 on the network's device.
        standard_errors: One standard error of each; ``None`` when they were computed exactly.
        num_products: How many products with the matrix it took.
        caveats: Sentences on when not to believe the values.
    """

    values: Float[Tensor, " parameters"]
    standard_errors: Float[Tensor, " parameters"] | None
    num_products: int
    caveats: tuple[str, ...] = ()


def hessian_trace(
    trained: TrainedModel,
    *,
    num_probes: int = 32,
    matrix: Matrix = "hessian",
    normalization: Normalization = "none",
    seed: int = 0,
    at: Mapping[str, Tensor] | None = None,
) -> Estimate:
    """Return the trace of the curvature of the mean training loss [loss per squared unit of a step].

    A third of the products finds the dominant directions, a third measures the matrix along them exactly, and random
    probes measure the rest. Where that would take more products than there are parameters, the trace is exact. In a
    network of more than 2²³ parameters random probes take all products, one held at a time.

    Args:
        trained: The network with its training data.
        num_probes: How many random probes, and dominant directions; each takes three products in all.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        normalization: ``"filter"`` or ``"layer"`` for the trace of D H D; see :func:`top_eigenvalues`.
        seed: Seed of the probes.
        at: Where to differentiate instead of at the network's own parameters; see :class:`CurvatureProduct`.

    Raises:
        InvalidInputError: Fewer than two probes; and what :class:`CurvatureProduct` raises.

    Source: Meyer, Musco, Musco and Woodruff 2021 (arXiv 2010.09649), Hutch++.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(2, 2), (torch.eye(2), torch.tensor([0, 1])),
        ...     loss=lambda logits, labels: 4 * logits[:, 1] ** 2,
        ... )
        >>> hessian_trace(trained)
        Estimate(value=16.0, standard_error=None, per_layer={}, caveats=())
    """
    with trained.borrowed(), torch.no_grad():
        product = CurvatureProduct.normalized(trained, matrix, normalization, at)
        _check(num_probes)
        if product.space.is_large:
            return sampled_trace(product, num_probes=PRODUCTS_PER_PROBE * num_probes, seed=seed)
        known, samples = _diagonals(product, num_probes, seed)
    if samples is None:
        return Estimate(float(known.sum()), caveats=product.caveats)
    return _trace(product, known.sum(), samples)


def trace_beyond(krylov: KrylovSpace[CurvatureProduct], *, num_probes: int) -> Estimate:
    """Return the trace of a matrix of which a Krylov space is known; call it while the network is borrowed.

    The trace within the space is that of its own matrix and costs nothing; random probes, one product each, measure
    the rest. They are drawn where the space's generator stands, so they do not depend on the space, and the estimate
    is unbiased given it. The standard error is that of the probes; a space of all dimensions leaves none.

    Args:
        krylov: The space; nothing of it changes.
        num_probes: How many random probes.

    Raises:
        InvalidInputError: Fewer than two probes; and what :class:`CurvatureProduct` raises.

    Source: Chen and Hallman 2022 (arXiv 2205.01736), Krylov-aware stochastic trace estimation.
    """
    _check(num_probes)
    product, known = krylov.product, krylov.matrix.trace()
    if krylov.size == product.is_free.sum():
        return Estimate(float(known), caveats=product.caveats)
    probes = product.signs(num_probes, krylov.generator.clone_state())
    return _trace(product, known, _samples_beyond(product, krylov.vectors, probes))


def hessian_diagonal(
    trained: TrainedModel,
    *,
    num_probes: int = 32,
    matrix: Matrix = "hessian",
    seed: int = 0,
) -> Diagonal:
    """Return the diagonal of the curvature of the mean training loss, estimated as :func:`hessian_trace` does.

    Args:
        trained: The network with its training data.
        num_probes: How many random probes, and dominant directions; each takes three products in all.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        seed: Seed of the probes.

    Raises:
        InvalidInputError: Fewer than two probes; and what :class:`CurvatureProduct` raises.

    Source: Bekas, Kokiopoulou and Saad 2007, An estimator for the diagonal of a matrix; deflated as Hutch++ is.
    """
    with trained.borrowed(), torch.no_grad():
        _check(num_probes)
        product = CurvatureProduct(trained, matrix=matrix)
        known, samples = _diagonals(product, num_probes, seed)
    if samples is None:
        return Diagonal(known, None, product.num_products, product.caveats)
    return Diagonal(known + samples.mean(dim=0), _standard_error(samples), product.num_products, product.caveats)


def _diagonals(
    product: CurvatureProduct, num_probes: int, seed: int
) -> tuple[Float[Tensor, " parameters"], Float[Tensor, "probes parameters"] | None]:
    """Return what is known of the diagonal, and independent samples of the rest (``None``: nothing is left).

    With P the projection on the dominant directions, H = PH + HP − PHP + (1−P)H(1−P); the last is sampled.
    """
    is_free = product.is_free
    if is_free.sum() <= PRODUCTS_PER_PROBE * num_probes:
        exact = torch.zeros(len(is_free), dtype=torch.float64, device=is_free.device)
        exact[is_free] = product.dense().diagonal()
        return exact, None
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(product(product.signs(num_probes, generator)).T).Q.T
    images = product(directions)
    among = images @ directions.T
    known = 2 * (directions * images).sum(dim=0) - (directions * (among.T @ directions)).sum(dim=0)
    return known, _samples_beyond(product, directions, product.signs(num_probes, generator))


def _samples_beyond(
    product: CurvatureProduct,
    directions: Float[Tensor, "directions parameters"],
    probes: Float[Tensor, "probes parameters"],
) -> Float[Tensor, "probes parameters"]:
    """Return samples of the diagonal of (1−P)H(1−P), one a probe; each costs a product."""
    return probes * _without(product(_without(probes, directions)), directions)


def _trace(product: CurvatureProduct, known: Tensor, samples: Float[Tensor, "probes parameters"]) -> Estimate:
    sums = samples.sum(dim=1)
    return Estimate(float(known + sums.mean()), float(_standard_error(sums)), caveats=product.caveats)


def _check(num_probes: int) -> None:
    if num_probes < 2:
        raise InvalidInputError(f"num_probes must be at least 2 for a standard error, got {num_probes}.")


def _without(
    vectors: Float[Tensor, "vectors parameters"], directions: Float[Tensor, "directions parameters"]
) -> Float[Tensor, "vectors parameters"]:
    return vectors - (vectors @ directions.T) @ directions


def _standard_error(samples: Tensor) -> Tensor:
    """Return the standard error of the mean over the first dimension."""
    return samples.std(dim=0) / sqrt(len(samples))
