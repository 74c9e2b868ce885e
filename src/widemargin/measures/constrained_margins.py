"""Distances to the decision boundary along the directions in which the data varies."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError

__all__ = ["constrained_distances", "elbow", "principal_components"]


def principal_components(inputs: Float[Tensor, "examples units"]) -> Float[Tensor, "units components"]:
    """Return the directions of largest variance up to the elbow of the variances, in double precision.

    Raises:
        MeasureNotApplicableError: All examples are the same.
    """
    deviations = inputs.double() - inputs[0].double()  # exactly 0 where all are the same
    deviations -= deviations.mean(dim=0)
    num_components = min(len(deviations) - 1, deviations.shape[1])
    variances, coordinates = torch.linalg.eigh(deviations @ deviations.T)
    variances, coordinates = variances.flip(0)[:num_components], coordinates.flip(1)
    if not len(variances) or float(variances[0]) <= 0:
        raise MeasureNotApplicableError("the data has no principal components, because all inputs are the same.")
    components: Tensor = deviations.T @ coordinates[:, : elbow(variances.cpu().numpy())]
    components /= torch.linalg.vector_norm(components, dim=0)
    return components


def elbow(values: Float[NDArray[np.float64], " values"]) -> int:
    """Return how many of descending values come up to the elbow: the point farthest below the chord of their curve.

    Where no point is below the chord, all of them count.

    Source: Satopää et al. 2011, Finding a "Kneedle" in a Haystack, section 2, without smoothing.

    Example:
        >>> elbow(np.array([10.0, 9.0, 1.0, 0.5, 0.0]))
        3
    """
    if len(values) < 3 or values[0] == values[-1]:
        return len(values)
    heights = (values - values[-1]) / (values[0] - values[-1])
    below = 1 - np.linspace(0, 1, len(values)) - heights
    return int(below.argmax()) + 1 if below.max() > 1e-9 else len(values)


def constrained_distances(
    output_margins: Float[Tensor, " examples"],
    gradients: Float[Tensor, "examples units"],
    components: Float[Tensor, "units components"],
) -> Float[NDArray[np.float64], " examples"]:
    """Return margins over the norm of the gradient's part in a subspace [input units], infinite where that vanishes.

    Source: Mouton, Theunissen, Davel 2023 (arXiv 2308.15466), to first order: the paper takes such steps until the
    class changes.
    """
    norms = torch.linalg.vector_norm(gradients.double() @ components, dim=1)
    distances: NDArray[np.float64] = torch.where(output_margins == 0, 0, output_margins / norms).cpu().numpy()
    return distances
