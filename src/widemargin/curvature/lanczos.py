"""Lanczos's method: a symmetric matrix as it is seen from a growing Krylov space."""

from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from widemargin.parameters import ParameterSpace

__all__ = ["KrylovSpace", "SymmetricMap", "largest_eigenpairs"]

SMALL = 32
"""Up to so many dimensions the space is searched completely, which finds eigenvalues that occur more than once."""


@runtime_checkable  # tests check annotations
class SymmetricMap(Protocol):
    """A symmetric matrix that is known by its products with vectors."""

    @property
    def space(self) -> ParameterSpace:
        """The flat vectors that are multiplied."""

    @property
    def is_free(self) -> Bool[Tensor, " parameters"]:
        """Which parameters move; vectors and products are 0 elsewhere."""

    def __call__(self, vectors: Float[Tensor, "*vectors parameters"]) -> Float[Tensor, "*vectors parameters"]:
        """Return the products, in the shape and precision of the vectors."""


M = TypeVar("M", bound=SymmetricMap)


class KrylovSpace(Generic[M]):
    """Orthonormal vectors v, Hv, H²v, … and the matrix that H is among them.

    Every new vector is made orthogonal to all earlier ones, twice. Where H maps the space into itself, it goes on
    with a random vector orthogonal to it.

    Args:
        product: H.
        capacity: How many vectors fit.
        generator: Draws the vectors to go on with.
        start: The first vector, of any length, 0 where parameters stay fixed; by default a random one.

    Attributes:
        size: How many vectors there are.
        coupling: Length of the part of H v that lies outside the space, v the last vector.
        noise: What is no more than rounding in H v.

    Source: Wu and Simon 2000, Thick-restart Lanczos method for large symmetric eigenvalue problems.
    """

    def __init__(
        self,
        product: M,
        capacity: int,
        generator: torch.Generator,
        start: Float[Tensor, " parameters"] | None = None,
    ) -> None:
        self.product = product
        self.generator = generator
        self.size = 0
        self.coupling = self.noise = 0.0
        self._matrix = torch.zeros(capacity, capacity, dtype=torch.float64)
        start = self._random() if start is None else start
        self._vectors = start.new_empty(capacity, len(start))
        self._next = start / start.norm()
        self._rounding = 10 * max(torch.finfo(dtype).eps for dtype in product.space.dtypes)

    @classmethod
    def with_room_for(cls, product: M, num: int, generator: torch.Generator) -> "KrylovSpace[M]":
        """Return a space in which so many of the largest eigenpairs can be searched well."""
        return cls(product, min(int(product.is_free.sum()), max(2 * num + 10, 40)), generator)

    @property
    def vectors(self) -> Float[Tensor, "size parameters"]:
        """The orthonormal vectors."""
        return self._vectors[: self.size]

    @property
    def matrix(self) -> Float[Tensor, "size size"]:
        """What H is among them, on the CPU."""
        return self._matrix[: self.size, : self.size]

    def expand(self) -> bool:
        """Add one vector at the cost of one product; return whether H leads out of the space."""
        self._vectors[self.size] = self._next
        image = self.product(self._next)
        length = float(image.norm())
        self.size += 1
        column = self._orthogonalize(image)
        self._matrix[: self.size, self.size - 1] = self._matrix[self.size - 1, : self.size] = column.cpu()
        self.noise = max(self.noise, self._rounding * length)
        self.coupling = float(image.norm())
        if self.coupling > self.noise:
            self._next = image / self.coupling
            return True
        self.coupling = 0.0
        self._next = self._random()
        self._orthogonalize(self._next)
        self._next /= self._next.norm()
        return False

    def eigenpairs(self, num: int) -> tuple[Float[Tensor, " num"], Float[Tensor, "num size"], Float[Tensor, " num"]]:
        """Return the largest eigenvalues of ``matrix``, their vectors as its rows, and their residuals in H."""
        values, coordinates = torch.linalg.eigh(self.matrix)
        values, coordinates = values.flip(0)[:num], coordinates.flip(1)[:, :num].T
        return values, coordinates, self.coupling * coordinates[:, -1].abs()

    def search(
        self, num: int, *, tolerance: float, max_products: int
    ) -> tuple[
        Float[Tensor, " {num}"], Float[Tensor, "{num} parameters"], Float[Tensor, " {num}"], Bool[Tensor, " {num}"]
    ]:
        """Grow until the largest eigenpairs are known; see :func:`largest_eigenpairs`."""
        num_free = int(self.product.is_free.sum())
        for _ in range(max_products):
            if self.size == len(self._vectors):
                self.shrink(num + (self.size - num) // 2)
            self.expand()
            values, coordinates, residuals = self.eigenpairs(num)
            is_searched = self.size == num_free or (self.size >= num and num_free > SMALL)
            is_good = (residuals <= tolerance * values.abs() + self.noise) & is_searched
            if is_good.all():
                break
        return values, coordinates.to(self.vectors) @ self.vectors, residuals, is_good

    def shrink(self, num: int) -> None:
        """Keep the largest eigenvectors of ``matrix`` only; the space goes on growing from where it was."""
        values, coordinates, _ = self.eigenpairs(num)
        kept = coordinates.to(self.vectors) @ self.vectors
        self.size = num
        self._vectors[: self.size] = kept
        self._matrix[: self.size, : self.size] = values.diag()

    def _random(self) -> Float[Tensor, " parameters"]:
        """Return a Gaussian vector; random signs could miss a direction such as (1, −1, 0, …) altogether."""
        is_free = self.product.is_free
        return torch.randn(len(is_free), generator=self.generator, dtype=torch.float64).to(is_free.device) * is_free

    def _orthogonalize(self, vector: Float[Tensor, " parameters"]) -> Float[Tensor, " size"]:
        """Take the space's part out of a vector, in place; return its coordinates."""
        coordinates = vector.new_zeros(self.size)
        for _ in range(2):
            part = self.vectors @ vector
            vector -= part @ self.vectors
            coordinates += part
        return coordinates


def largest_eigenpairs(
    product: SymmetricMap, num: int, *, tolerance: float, max_products: int, generator: torch.Generator
) -> tuple[
    Float[Tensor, " {num}"], Float[Tensor, "{num} parameters"], Float[Tensor, " {num}"], Bool[Tensor, " {num}"]
]:
    """Return the largest eigenvalues, unit eigenvectors, residuals, and which of them are within the tolerance.

    Stops at the first product after which all are, or are within the rounding of the network's precision.

    Args:
        product: The matrix.
        num: How many, up to the number of parameters that move.
        tolerance: Largest residual that is good enough, relative to its eigenvalue.
        max_products: When to stop whatever was found, ``num`` or more.
        generator: Draws the vector to start from.
    """
    krylov = KrylovSpace.with_room_for(product, num, generator)
    return krylov.search(num, tolerance=tolerance, max_products=max_products)
