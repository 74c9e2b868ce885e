"""Loss and accuracy on a plane through a network's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import InvalidInputError
from widemargin.landscape.evaluation import BatchNormStatistics, Evaluation, Losses
from widemargin.landscape.grid import Extent, grid_over
from widemargin.landscape.plane import Plane
from widemargin.landscape.slices import Direction, Slice, Units
from widemargin.parameters import Normalization
from widemargin.trained_model import TrainedModel

__all__ = ["Surface", "loss_surface"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surface(Losses):
    """What a network's loss does at center + x · first direction + y · second direction.

    Attributes:
        x: Coefficients of the first direction.
        y: Coefficients of the second.
        losses: Mean loss of each point; NaN and infinity are kept.
        accuracies: Share of the examples that are classified correctly.
        cosine: Of the angle between the directions, in parameter space.
        normalization: Units of x and y, ``"given"`` for directions of the user's.
        seed: Where random directions come from.
        split: ``"train"`` or ``"test"``.
        batch_norm: Which BatchNorm statistics were used.
        num_evaluations: Points evaluated, each one pass over the data (two with re-estimated statistics).
        caveats: Sentences on when not to believe the numbers.
    """

    x: Float[Doubles, " columns"]
    y: Float[Doubles, " rows"]
    losses: Float[Doubles, "rows columns"]
    accuracies: Float[Doubles, "rows columns"]
    cosine: float
    normalization: Units
    seed: int | None
    split: str
    batch_norm: BatchNormStatistics
    num_evaluations: int
    caveats: tuple[str, ...]


def loss_surface(
    trained: TrainedModel,
    *,
    directions: Plane | Tensor | Sequence[Direction] | None = None,
    reach: float | Extent | None = None,
    num_points: int = 51,
    normalization: Normalization = "filter",
    seed: int = 0,
    split: str = "train",
    batch_norm: BatchNormStatistics = "kept",
) -> Surface:
    """Return loss and accuracy on a grid over two directions.

    Random directions are not made orthogonal, which would undo their normalization: two independent ones in n
    dimensions have a cosine of about 1/√n anyhow (the surface says which). An odd number of points over a symmetric
    reach has the network itself in the middle.

    Args:
        trained: The network at the center, with its data.
        directions: Two of the user's in place of random ones, or the plane of a trajectory; taken as they are.
        reach: The grid goes from −reach to reach in both directions; or x low, x high, y low, y high. Default: the
            extent of a plane, else 1.
        num_points: How many coefficients of each direction.
        normalization: Units of random directions.
        seed: Where random directions come from; the first is that of :func:`loss_along`.
        split: ``"train"`` or ``"test"``.
        batch_norm: ``"kept"`` or ``"re-estimated"`` (from the training data, at each point).

    Raises:
        InvalidInputError: Directions that do not fit the network, are not two or not finite; a reach that is not
            positive and finite, or lows not below their highs; fewer than two points; or nothing that the
            normalization could move.
        EmptyDataError: There is no example.
        InvalidLogitsError: The network's own output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.

    Source: Li et al. 2018 (arXiv 1712.09913), section 4.

    Example:
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.zero_()
        >>> trained = TrainedModel(
        ...     net, (torch.ones(1, 1), torch.tensor([0])), loss=lambda logits, labels: (logits**2).sum(dim=1)
        ... )
        >>> surface = loss_surface(trained, directions=torch.eye(2), reach=(-1.0, 1.0, 0.0, 2.0), num_points=3)
        >>> surface.losses.tolist()
        [[1.0, 0.0, 1.0], [2.0, 1.0, 2.0], [5.0, 4.0, 5.0]]
    """
    given = directions.directions if isinstance(directions, Plane) else directions
    if given is not None and len(given) != 2:
        raise InvalidInputError(f"a surface takes two directions, got {len(given)}. loss_along takes one.")
    if reach is None:
        reach = directions.extent if isinstance(directions, Plane) else 1.0
    extent = (-reach, reach, -reach, reach) if isinstance(reach, int | float) else reach
    x, y, coordinates = grid_over(extent, num_points)
    with trained.borrowed() as network:
        if given is None:
            plane = Slice.random(network, 2, normalization, seed=seed)
        else:
            plane = Slice.spanned(network, list(given))
        evaluation = Evaluation(trained, split=split, batch_norm=batch_norm)
        values = plane.values(evaluation, coordinates)
    return Surface(
        x,
        y,
        values.losses.reshape(num_points, num_points),
        values.accuracies.reshape(num_points, num_points),
        float(torch.cosine_similarity(plane.directions[0].double(), plane.directions[1].double(), dim=0)),
        plane.normalization,
        plane.seed,
        split,
        batch_norm,
        evaluation.num_evaluations,
        plane.caveats_on(evaluation, values),
    )
