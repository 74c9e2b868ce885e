"""Points of parameter space as a map in two dimensions."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import InvalidInputError

__all__ = ["embedded"]

Doubles: TypeAlias = NDArray[np.float64]

NUM_COMPONENTS = 50
PERPLEXITY = 30.0
FEWEST_POINTS = 5


def embedded(points: Float[Tensor, "points parameters"], *, seed: int = 0) -> Float[Doubles, "points 2"]:
    """Return a map of points in which near ones lie near each other: principal components, then t-SNE.

    Only neighborhoods can be read from it; distances between far points, sizes and densities mean nothing.

    Args:
        points: One point of parameter space a row.
        seed: Of t-SNE.

    Raises:
        InvalidInputError: Fewer than five points, or some that are not finite.

    Source: the minefield figure of Huang et al. 2019: 50 principal components, perplexity 30; smaller sets take as
    much of both as they allow.
    """
    if len(points) < FEWEST_POINTS or not bool(torch.isfinite(points).all()):
        num_bad = int((~torch.isfinite(points).all(dim=1)).sum())
        raise InvalidInputError(
            f"a map needs {FEWEST_POINTS} points or more, all finite, got {len(points)}, {num_bad} of them not."
        )
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    table = points.detach().cpu().double().numpy()
    reduced = PCA(min(NUM_COMPONENTS, *table.shape), random_state=seed).fit_transform(table)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(places, dtype=np.float64)
