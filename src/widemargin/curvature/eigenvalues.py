"""The largest eigenvalues of the curvature."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.curvature.lanczos import KrylovSpace
from widemargin.curvature.products import CurvatureProduct, Matrix
from widemargin.errors import InvalidInputError
from widemargin.parameters import Normalization
from widemargin.trained_model import TrainedModel

__all__ = ["Eigenvalues", "top_eigenvalues"]


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """The largest eigenvalues of a symmetric matrix and how well they are known.

    Attributes:
        values: Largest first [loss per squared unit of a step].
        residuals: ‖Hv − λv‖ of each: an eigenvalue lies within this distance.
        vectors: Unit eigenvectors v, in the normalized coordinates (the step of the parameters is diag(s) v), float64
            on the network's device.
        has_converged: Whether every residual is within the tolerance, or within the rounding of the network's
            precision.
        num_products: How many products with the matrix it took, each as costly as a few passes over the data.
        caveats: Sentences on when not to believe the values.
    """

    values: Float[NDArray[np.float64], " num"]
    residuals: Float[NDArray[np.float64], " num"]
    vectors: Float[Tensor, "num parameters"]
    has_converged: bool
    num_products: int
    caveats: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, krylov: KrylovSpace[CurvatureProduct], *, num: int, tolerance: float, max_products: int
    ) -> "Eigenvalues":
        """Return the largest eigenvalues of a matrix; call it while the network is borrowed.

        Args:
            krylov: The space to search, which grows.
            num: How many eigenvalues.
            tolerance: Largest residual that is good enough, relative to its eigenvalue.
            max_products: When to give up; what was found by then comes back with a caveat.

        Raises:
            InvalidInputError: What :class:`CurvatureProduct` raises.
        """
        values, vectors, residuals, is_good = krylov.search(num, tolerance=tolerance, max_products=max_products)
        num_products, caveats = krylov.product.num_products, krylov.product.caveats
        has_converged = bool(is_good.all())
        if not has_converged:
            worst = float((residuals / values.abs()).max())
            caveats += (
                f"Not converged after {num_products} products: a residual is {worst:.1e} of its eigenvalue, more "
                f"than the tolerance of {tolerance:.1e}. top_eigenvalues(…, max_products=…) goes on for longer.",
            )
        return cls(values.numpy(), residuals.numpy(), vectors, has_converged, num_products, caveats)


def top_eigenvalues(
    trained: TrainedModel,
    *,
    num: int = 1,
    matrix: Matrix = "hessian",
    normalization: Normalization = "none",
    tolerance: float = 1e-3,
    max_products: int = 300,
    seed: int = 0,
    at: Mapping[str, Tensor] | None = None,
) -> Eigenvalues:
    """Return the largest eigenvalues (algebraically) of the curvature of the mean training loss.

    Lanczos's method with full orthogonalization and thick restarts; it stops at the first product that meets the
    tolerance. In more than 32 dimensions an eigenvalue that occurs several times may be found once only. In single
    precision an eigenvalue below a hundredth of the largest may be wrong by more than the tolerance, which is about
    the matrix as it was computed: hand over ``model.double()`` where that matters. Some 40 vectors are held in double
    precision; the measure ``top_hessian_eigenvalue`` holds two where that is too much.

    Args:
        trained: The network with its training data.
        num: How many eigenvalues.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        normalization: ``"filter"`` or ``"layer"`` for D H D, D the norm of the filter or layer that each weight
            belongs to and 0 for biases; ``"none"`` for H itself.
        tolerance: Largest residual that is good enough, relative to its eigenvalue.
        max_products: When to give up; what was found by then comes back with a caveat.
        seed: Seed of the vector to start from.
        at: Where to differentiate instead of at the network's own parameters; see :class:`CurvatureProduct`.

    Raises:
        InvalidInputError: ``num``, ``tolerance`` or ``max_products`` out of range; and what
            :class:`CurvatureProduct` raises.

    Source: Huang et al. 2019 (arXiv 1906.03291) plot the largest eigenvalue in filter-normalized coordinates.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(2, 2), (torch.eye(2), torch.tensor([0, 1])),
        ...     loss=lambda logits, labels: 4 * logits[:, 1] ** 2,
        ... )
        >>> top_eigenvalues(trained, num=2).values.round(6).tolist()
        [12.0, 4.0]
    """
    with trained.borrowed(), torch.no_grad():
        product = CurvatureProduct.normalized(trained, matrix, normalization, at)
        num_free = int(product.is_free.sum())
        if not 1 <= num <= num_free:
            raise InvalidInputError(f"num must be from 1 to the number of free parameters ({num_free}), got {num}.")
        if max_products < num:
            raise InvalidInputError(f"max_products must be at least num ({num}), got {max_products}.")
        if not 0 < tolerance < 1:
            raise InvalidInputError(f"tolerance must be between 0 and 1, got {tolerance}. 1e-3 is a thousandth.")
        generator = torch.Generator().manual_seed(seed)
        krylov = KrylovSpace.with_room_for(product, num, generator)
        return Eigenvalues.of(krylov, num=num, tolerance=tolerance, max_products=max_products)
