"""The sharpest directions of the training loss."""

from dataclasses import dataclass

import torch

from widemargin.curvature import CurvatureProduct, Eigenvalues
from widemargin.curvature.lanczos import KrylovSpace

__all__ = ["DominantCurvature", "dominant_curvature"]

TOLERANCE, MAX_PRODUCTS = 5e-2, 15


@dataclass(frozen=True, eq=False)
class DominantCurvature:
    """The largest eigenvalue of a curvature matrix, and the space that it was found in."""

    krylov: KrylovSpace[CurvatureProduct]
    largest: Eigenvalues


def dominant_curvature(product: CurvatureProduct, *, seed: int) -> DominantCurvature:
    """Return the largest eigenvalue within a twentieth, or what was found after 15 products, with a caveat.

    Args:
        product: The matrix.
        seed: Seed of the vector to start from.

    Raises:
        InvalidInputError: What :class:`~widemargin.curvature.CurvatureProduct` raises.

    Example:
        >>> from widemargin import TrainedModel
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(2, 2), (torch.eye(2), torch.tensor([0, 1])),
        ...     loss=lambda logits, labels: 4 * logits[:, 1] ** 2,
        ... )
        >>> float(dominant_curvature(CurvatureProduct(trained), seed=0).largest.values[0].round(6))
        12.0
    """
    with product.trained.borrowed(), torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        krylov = KrylovSpace(product, min(int(product.is_free.sum()), MAX_PRODUCTS), generator)
        return DominantCurvature(
            krylov, Eigenvalues.of(krylov, num=1, tolerance=TOLERANCE, max_products=MAX_PRODUCTS)
        )
