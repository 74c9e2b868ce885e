"""How far classes lie apart in a space, and how much a class varies: from the distances of examples alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.features import Features

__all__ = ["ClassSpreads", "class_spreads", "davies_bouldin_index"]

NUM_SPLITS = 10


@dataclass(frozen=True, eq=False)
class ClassSpreads:
    """How much the features of each class vary.

    Attributes:
        classes: The classes with two sampled examples at least.
        shares: How many of their examples are of each class [share].
        costs: At each layer, for each of several random splits of a class into halves of k examples, the mean
            distance of the cheapest one-to-one assignment between the halves (the 1-Wasserstein distance).
    """

    classes: Int[NDArray[np.integer], " classes"]
    shares: Float[NDArray[np.float64], " classes"]
    costs: Mapping[str, Float[NDArray[np.float64], "splits classes"]]


def class_spreads(features: Features, *, seed: int) -> ClassSpreads:
    """Return the k-variance of each class at each hidden layer, k half of its sampled examples.

    Args:
        features: The sample as the layers see it.
        seed: Seed of the splits.

    Raises:
        MeasureNotApplicableError: No class has two examples in the sample.

    Source: Chuang et al. 2021 (arXiv 2106.03314): the expected transport cost between two sets of k fresh draws,
    estimated by random halves of the sample.
    """
    labels = features.labels.cpu().numpy()
    classes, counts = np.unique(labels, return_counts=True)
    classes, counts = classes[counts > 1], counts[counts > 1]
    if not len(classes):
        raise MeasureNotApplicableError("no class varies, because none has two examples in the sample.")
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in classes]
    halves = [
        [np.split(rng.permutation(part)[: len(part) // 2 * 2], 2) for part in members] for _ in range(NUM_SPLITS)
    ]
    costs = {}
    for layer, squared in features.squared_distances.items():
        distances = squared.sqrt().cpu().numpy()
        costs[layer] = np.array([[_cost(distances[np.ix_(a, b)]) for a, b in split] for split in halves])
    return ClassSpreads(classes, counts / counts.sum(), costs)


def _cost(distances: Float[NDArray[np.float64], "k k"]) -> float:
    """Return the mean distance of the cheapest one-to-one assignment."""
    return float(distances[linear_sum_assignment(distances)].mean())


def davies_bouldin_index(
    squared_distances: Float[Tensor, "examples examples"], labels: Int[Tensor, " examples"]
) -> float:
    """Return the mean over classes of max over others of (s_i + s_j) / ‖c_i − c_j‖; small where classes are separate.

    c_i is the mean of class i and s_i the mean distance of its examples from there. All of it follows from the
    distances of pairs: the mean of ‖x − y‖² over a class is ‖x − c‖² plus half the class's own mean.

    Args:
        squared_distances: ‖x_i − x_j‖² of all pairs of examples.
        labels: Class of each example.

    Raises:
        MeasureNotApplicableError: There is one class only, or two have the same mean.

    Source: Davies and Bouldin 1979, with exponents 1 and 2.

    Example:
        >>> import torch
        >>> points = torch.tensor([0.0, 2.0, 9.0, 13.0], dtype=torch.float64)
        >>> squared = (points - points.unsqueeze(1)) ** 2
        >>> davies_bouldin_index(squared, torch.tensor([0, 0, 1, 1]))  # (1 + 2) / (11 − 1)
        0.3
    """
    own = torch.nn.functional.one_hot(labels.long()).to(squared_distances)
    own = own[:, own.sum(dim=0) > 0]
    if own.shape[1] < 2:
        raise MeasureNotApplicableError("classes do not lie apart, because the sample holds only one.")
    means = own / own.sum(dim=0)  # [examples, classes], columns sum to 1
    to_members = squared_distances @ means
    between = means.T @ to_members
    inner = between.diagonal() / 2  # mean ‖x − c‖² of each class
    scatter = ((to_members - inner).clamp(min=0).sqrt() * means).sum(dim=0)
    centers = (between - inner - inner.unsqueeze(1)).clamp(min=0).sqrt()
    if bool((centers + torch.eye(len(centers)).to(centers) == 0).any()):
        raise MeasureNotApplicableError("classes do not lie apart, because two have the same mean.")
    ratios = (scatter + scatter.unsqueeze(1)) / centers.fill_diagonal_(torch.inf)
    return float(ratios.max(dim=1).values.mean())
