"""Curvature of networks so large that no more than two vectors of parameters are held."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.curvature.products import CurvatureProduct, check_finite
from widemargin.parameters import NUMBERS_AT_ONCE
from widemargin.results import Estimate

__all__ = ["sampled_trace", "top_eigenvalue_in_two_vectors"]


def top_eigenvalue_in_two_vectors(
    product: CurvatureProduct, *, tolerance: float, max_products: int, seed: int
) -> Estimate:
    """Return the largest eigenvalue of a matrix; call it while the network is borrowed.

    Lanczos's method by its recurrence of three vectors, of which the oldest is where the newest is written. What
    rounding loses of their orthogonality makes copies of eigenvalues, which leaves the largest as it is.

    Args:
        product: The matrix, in the units of groups of parameters where it has some.
        tolerance: Largest residual that is good enough, relative to the eigenvalue.
        max_products: When to give up; what was found by then comes back with a caveat.
        seed: Seed of the vector to start from.

    Raises:
        InvalidInputError: What :class:`CurvatureProduct` raises.

    Source: Paige 1972, Computational variants of the Lanczos method for the eigenproblem.
    """
    generator = torch.Generator().manual_seed(seed)
    vector = _empty(product)
    vector.copy_(torch.randn(len(vector), generator=generator))
    _in_units(product, vector)
    vector /= _norm(product, vector)
    earlier = torch.zeros_like(vector)
    diagonal, beside = np.empty(0), np.empty(0)
    while True:
        image = earlier.mul_(-beside[-1] if len(beside) else 0.0)
        _add_product(product, vector, image)
        diagonal = np.append(diagonal, _inner(product, vector, image))
        check_finite(diagonal[-1])
        image.sub_(vector, alpha=diagonal[-1])
        coupling = _norm(product, image)
        matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = np.linalg.eigh(matrix)
        value, residual = float(values[-1]), coupling * abs(float(vectors[-1, -1]))
        rounding = 10 * torch.finfo(vector.dtype).eps * float(np.abs(values).max())
        if residual <= tolerance * abs(value) + rounding:
            return Estimate(value, caveats=product.caveats)
        if len(diagonal) == max_products:
            caveat = (
                f"Not converged after {max_products} products: the residual is {residual / abs(value):.1e} of the "
                f"eigenvalue, more than the tolerance of {tolerance:.1e}."
            )
            return Estimate(value, caveats=(*product.caveats, caveat))
        beside = np.append(beside, coupling)
        vector, earlier = image.div_(coupling), vector


def sampled_trace(product: CurvatureProduct, *, num_probes: int, seed: int) -> Estimate:
    """Return the trace of a matrix from random signs; call it while the network is borrowed.

    Args:
        product: The matrix, in the units of groups of parameters where it has some.
        num_probes: How many random probes, one product each; two or more.
        seed: Seed of the probes.

    Raises:
        InvalidInputError: What :class:`CurvatureProduct` raises.

    Source: Hutchinson 1990, A stochastic estimator of the trace of the influence matrix.
    """
    generator = torch.Generator().manual_seed(seed)
    vector = _empty(product)
    samples = np.zeros(num_probes)
    for index in range(num_probes):
        signs = torch.randint(0, 2, vector.shape, generator=generator, dtype=torch.int8)
        vector.copy_(signs).mul_(2).sub_(1)
        _in_units(product, vector)
        views = list(product.space.views(vector).values())

        def add(tensor: int, part: Tensor, index: int = index, views: list[Tensor] = views) -> None:
            samples[index] += float((part.to_dense() * views[tensor]).sum())  # a sum in double precision copies

        product.each_part(vector, add)
    check_finite(float(samples.sum()))
    samples /= product.num_examples
    return Estimate(
        float(samples.mean()), float(samples.std(ddof=1)) / math.sqrt(num_probes), caveats=product.caveats
    )


def _empty(product: CurvatureProduct) -> Float[Tensor, " parameters"]:
    space = product.space
    return torch.empty(space.num_parameters, dtype=space.sum_dtype, device=product.trained.device)


def _rows(product: CurvatureProduct, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pieces of a vector, views of about a million numbers, with the units of their rows."""
    if product.groups is None:
        for piece in torch.split(vector, NUMBERS_AT_ONCE):
            yield piece.unsqueeze(0), piece.new_ones(1, 1)
        return
    for rows, lengths in product.groups.rows(vector):
        num = max(1, NUMBERS_AT_ONCE // rows.shape[1])
        yield from zip(torch.split(rows, num), torch.split(lengths, num), strict=True)


def _in_units(product: CurvatureProduct, vector: Tensor) -> None:
    """Turn a vector of the normalized coordinates into a step of the parameters, in place."""
    for rows, lengths in _rows(product, vector):
        rows.mul_(lengths)


def _add_product(product: CurvatureProduct, vector: Tensor, total: Tensor) -> None:
    """Add D²H of a vector to another, D the units: vectors are kept as steps of the parameters."""
    views = list(product.space.views(total).values())
    lengths = [total.new_ones(1, 1)] * len(views) if product.groups is None else product.groups.lengths

    def add(tensor: int, part: Tensor) -> None:
        of_rows = lengths[tensor].square().view([-1, *[1] * part.ndim][: part.ndim])  # parameters may be numbers
        views[tensor].addcmul_(part.to_dense(), of_rows, value=1 / product.num_examples)

    product.each_part(vector, add)


def _inner(product: CurvatureProduct, first: Tensor, second: Tensor) -> float:
    """Return the inner product of two steps of the parameters in their units."""
    total = 0.0
    for (one, lengths), (other, _) in zip(_rows(product, first), _rows(product, second), strict=True):
        of_rows = (one * other).sum(dim=1, keepdim=True, dtype=torch.float64)
        total += float((of_rows / lengths.double().square())[lengths > 0].sum())
    return total


def _norm(product: CurvatureProduct, vector: Tensor) -> float:
    return math.sqrt(_inner(product, vector, vector))
