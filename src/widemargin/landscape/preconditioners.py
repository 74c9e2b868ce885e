"""Changes of coordinates with determinant 1 in which a basin looks rounder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from widemargin.curvature import CurvatureProduct
from widemargin.curvature.lanczos import largest_eigenpairs
from widemargin.errors import InvalidInputError
from widemargin.parameters import ParameterGroups, ParameterSpace

__all__ = ["MeanCurvature", "Preconditioner", "PreconditionerName", "coordinates", "damping"]

PreconditionerName: TypeAlias = Literal["diagonal", "low-rank", "full"]

MAX_FULL = 5000
"""Up to so many parameters the whole Hessian is computed and decomposed: 200 MB a copy."""

NUM_PROBES = 32
"""Random probes for what is not known of a Hessian exactly."""

PRODUCTS_PER_EIGENVALUE, SPARE = 20, 20
"""``"low-rank"`` gives up after 20 products for each eigenvalue and for 20 more; usually two for each will do."""


@dataclass(frozen=True, eq=False)
class MeanCurvature:
    """The curvature that rays meet on average on their way from the minimum to the cutoff.

    Along a ray u that ends at distance r the loss is L₀ + r² ∫₀¹ (1 − s) uᵀH(s r u)u ds, which by the values at both
    ends is L₀ + ½ r² uᵀ(⅔ H(0) + ⅓ H(r u))u. Where a network fits all examples, cross-entropy has hardly any
    curvature at the minimum itself, and only the other end tells along which directions the basin is narrow. There
    the Gauss–Newton part is taken, which is never negative where the loss is convex in the logits.

    Attributes:
        at_minimum: Products with the Hessian at the minimum, in the coordinates that the volume is measured in.
        at_ends: Products with the Gauss–Newton matrix where rays end; without any, the curvature is the minimum's.
    """

    at_minimum: CurvatureProduct
    at_ends: tuple[CurvatureProduct, ...] = ()

    @property
    def space(self) -> ParameterSpace:
        """The flat vectors that are multiplied."""
        return self.at_minimum.space

    @property
    def is_free(self) -> Bool[Tensor, " parameters"]:
        """Which parameters move."""
        return self.at_minimum.is_free

    def __call__(self, vectors: Float[Tensor, "*vectors parameters"]) -> Float[Tensor, "*vectors parameters"]:
        """Return the products with vectors."""
        return self._mean(lambda product: product(vectors))

    def dense(self) -> Float[Tensor, "free free"]:
        """Return the whole matrix among the parameters that move."""
        return self._mean(lambda product: product.dense())

    def _mean(self, of: Callable[[CurvatureProduct], Tensor]) -> Tensor:
        if not self.at_ends:
            return of(self.at_minimum)
        at_ends = reduce(torch.add, map(of, self.at_ends)) / len(self.at_ends)
        return (2 * of(self.at_minimum) + at_ends) / 3


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """The symmetric positive linear map P u = b ∘ u + Σ_k f_k v_k (v_k · u), of determinant 1.

    Attributes:
        base: The b, one number per parameter; where parameters stay fixed it acts on zeros only.
        vectors: The orthonormal v.
        factors: The f.
        caveats: Sentences on what it was made from.
    """

    base: Float[Tensor, " parameters"]
    vectors: Float[Tensor, "rank parameters"]
    factors: Float[Tensor, " rank"]
    caveats: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, curvature: MeanCurvature, name: PreconditionerName, *, damping: float, rank: int, seed: int
    ) -> "Preconditioner":
        """Return P ∝ (max(H, 0) + damping)^(−1/2), from what is known of H.

        Args:
            curvature: The H.
            name: ``"diagonal"``: an estimate of H's diagonal; ``"low-rank"``: the largest eigenvalues, and the mean
                of the others; ``"full"``: all of it.
            damping: Added to every curvature, so that P stays bounded along flat directions.
            rank: How many eigenvalues ``"low-rank"`` takes.
            seed: Seed of the probes.

        Raises:
            InvalidInputError: An unknown name, a rank out of range, or more parameters than ``"full"`` allows.
        """
        if name not in KNOWN:
            raise InvalidInputError(f"preconditioner must be None or one of {', '.join(KNOWN)}, got {name!r}.")
        is_free = curvature.is_free
        num_free = int(is_free.sum())
        known = KNOWN[name](curvature, rank, seed)
        log_rest, log_top = (-(part.clamp(min=0) + damping).log() / 2 for part in (known.rest, known.values))
        share_of_rest = 1 - len(log_top) / num_free  # not 0 and 1 at once with a diagonal that is not constant
        log_det = log_top.sum() + share_of_rest * log_rest[is_free].sum()
        base, top = (log_rest - log_det / num_free).exp(), (log_top - log_det / num_free).exp()
        # Eigenvectors come with a constant rest, so that P acts on their span and on its complement separately.
        return cls(base, known.vectors, top - base[is_free][0], known.caveats)

    def __call__(self, units: Float[Tensor, "directions parameters"]) -> Float[Tensor, "directions parameters"]:
        """Return P u of each row."""
        return self.base * units + (units @ self.vectors.T * self.factors) @ self.vectors


@dataclass(frozen=True, eq=False)
class _Known:
    """The Hessian as far as it is known: some eigenvectors, and a diagonal for what is orthogonal to them."""

    rest: Float[Tensor, " parameters"]
    vectors: Float[Tensor, "rank parameters"]
    values: Float[Tensor, " rank"]
    caveats: tuple[str, ...] = ()


def _diagonal(curvature: MeanCurvature, rank: int, seed: int) -> _Known:
    probes = curvature.at_minimum.signs(NUM_PROBES, torch.Generator().manual_seed(seed))
    samples = probes * curvature(probes)
    # A curvature that cannot be told from 0 counts as its error: noise must not make a direction look flat.
    diagonal = torch.maximum(samples.mean(dim=0), samples.std(dim=0) / NUM_PROBES**0.5)
    return _Known(diagonal, probes[:0], diagonal[:0])


def _low_rank(curvature: MeanCurvature, rank: int, seed: int) -> _Known:
    num_free = int(curvature.is_free.sum())
    if not 1 <= rank < num_free:
        raise InvalidInputError(
            f"rank must be from 1 to below the number of parameters that move ({num_free}), got {rank}."
        )
    generator = torch.Generator().manual_seed(seed)
    values, vectors, _, is_good = largest_eigenpairs(
        curvature, rank, tolerance=1e-6, max_products=PRODUCTS_PER_EIGENVALUE * (rank + SPARE), generator=generator
    )
    values, vectors = values.to(vectors)[is_good], vectors[is_good]
    caveats: tuple[str, ...] = ()
    if len(values) < rank:
        caveats = (f"Only {len(values)} of {rank} eigenvalues converged; the preconditioner has that rank.",)
    probes = curvature.at_minimum.signs(NUM_PROBES, generator)
    outside = probes - (probes @ vectors.T) @ vectors
    mean = (outside * curvature(outside)).sum() / (outside**2).sum()
    return _Known(mean.expand(len(curvature.is_free)), vectors, values, caveats)


def _full(curvature: MeanCurvature, rank: int, seed: int) -> _Known:
    is_free = curvature.is_free
    num_free = int(is_free.sum())
    if num_free > MAX_FULL:
        raise InvalidInputError(
            f'preconditioner "full" needs at most {MAX_FULL} parameters that move, got {num_free}. Use "low-rank".'
        )
    values, columns = torch.linalg.eigh(curvature.dense())
    vectors = columns.new_zeros(num_free, len(is_free))
    vectors[:, is_free] = columns.T
    return _Known(columns.new_zeros(len(is_free)), vectors, values)


KNOWN: Mapping[str, Callable[[MeanCurvature, int, int], _Known]] = {
    "diagonal": _diagonal,
    "low-rank": _low_rank,
    "full": _full,
}


def coordinates(groups: ParameterGroups) -> Float[Tensor, " parameters"]:
    """Return what a unit of each coordinate x is in parameters: θ = θ* + s ∘ x.

    A unit step in a uniformly random direction spreads evenly over the n coordinates; a filter of m weights gets a
    part of length √(m/n). With s = ‖filter‖ · √(n/m) it is moved by about its norm.
    """
    return groups.norms.double() * (groups.num_free / groups.sizes.double().clamp(min=1)).sqrt()


def damping(*, cutoff: float, loss: float, cap: float) -> float:
    """Return μ for which 2(cutoff − loss) / (λ + μ) blends the squared radius along a curvature λ with the cap's.

    1/r² = λ / 2(cutoff − loss) + 1/cap²: the quadratic's radius where that is well below the cap, else the cap.
    """
    return 2 * (cutoff - loss) / cap**2
