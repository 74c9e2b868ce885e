"""Loss, accuracy and curvature on a walk along one direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.curvature import Eigenvalues, top_eigenvalues
from widemargin.errors import InvalidInputError
from widemargin.landscape.evaluation import BatchNormStatistics, Evaluation, Losses
from widemargin.landscape.slices import Direction, Slice, Units
from widemargin.parameters import Normalization, ParameterSpace
from widemargin.trained_model import TrainedModel

__all__ = ["Walk", "loss_along", "points_along", "walk_coefficients"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Walk(Losses):
    """What a network's loss does at center + c · direction.

    Attributes:
        coefficients: The c, in the order of the walk.
        losses: Mean loss of each; NaN and infinity are kept.
        accuracies: Share of the examples that are classified correctly.
        curvatures: Largest eigenvalue of the training loss's curvature in coordinates normalized at that point; NaN
            where the loss is not finite; ``None`` if not asked for.
        residuals: How far each curvature may be from an eigenvalue.
        normalization: Units of c, ``"given"`` for a direction of the user's.
        seed: Where a random direction comes from.
        split: ``"train"`` or ``"test"``: which data loss and accuracy are of.
        batch_norm: Which BatchNorm statistics were used.
        num_evaluations: Points evaluated, each one pass over the data (two with re-estimated statistics).
        num_products: Products with the curvature, each as costly as a few passes.
        caveats: Sentences on when not to believe the numbers.
    """

    coefficients: Float[Doubles, " points"]
    losses: Float[Doubles, " points"]
    accuracies: Float[Doubles, " points"]
    curvatures: Float[Doubles, " points"] | None
    residuals: Float[Doubles, " points"] | None
    normalization: Units
    seed: int | None
    split: str
    batch_norm: BatchNormStatistics
    num_evaluations: int
    num_products: int
    caveats: tuple[str, ...]


def walk_coefficients(num_frames: int = 203, reach: float = 0.25) -> Float[Doubles, " frames"]:
    """Return reach · t⁵ with t running 0 → 1 → 0 → −1 → 0: slow near the minimum, fast far from it.

    Each of the two turning points is held for two frames.

    Args:
        num_frames: How many frames: 7, 11, 15 …, four legs less one frame.
        reach: Where the walk turns around.

    Raises:
        InvalidInputError: ``num_frames`` is no such number, or ``reach`` is not finite.

    Source: the perturbation animation of Huang et al. 2019 (arXiv 1906.03291).

    Example:
        >>> walk_coefficients(11, reach=32.0).tolist()
        [0.0, 1.0, 32.0, 32.0, 1.0, 0.0, -1.0, -32.0, -32.0, -1.0, -0.0]
    """
    if num_frames < 7 or num_frames % 4 != 3:
        raise InvalidInputError(
            f"num_frames must be 4 legs of one length less 1 (7, 11, 15, …), got {num_frames}. Use "
            f"{max(7, num_frames - (num_frames + 1) % 4)}."
        )
    if not np.isfinite(reach):
        raise InvalidInputError(f"reach must be finite, got {reach}.")
    t = np.linspace(0, 1, (num_frames + 1) // 4)
    return reach * np.concatenate([t, t[::-1], -t[1:], -t[::-1]]) ** 5


def points_along(
    trained: TrainedModel,
    coefficients: Sequence[float] | Float[Doubles, " points"],
    *,
    direction: Direction | None = None,
    normalization: Normalization = "filter",
    seed: int = 0,
) -> Float[Tensor, "points parameters"]:
    """Return the parameters that :func:`loss_along` evaluates, one row a point, all in memory.

    Args:
        trained: The network at the center.
        coefficients: Multiples of the direction.
        direction: As in :func:`loss_along`.
        normalization: As in :func:`loss_along`.
        seed: As in :func:`loss_along`.

    Raises:
        InvalidInputError: As in :func:`loss_along`.
    """
    return _line(trained, direction, normalization, seed).points(_checked(coefficients)[:, None])


def loss_along(
    trained: TrainedModel,
    *,
    direction: Direction | None = None,
    coefficients: Sequence[float] | Float[Doubles, " points"] | None = None,
    normalization: Normalization = "filter",
    seed: int = 0,
    split: str = "train",
    batch_norm: BatchNormStatistics = "kept",
    curvature: bool = False,
) -> Walk:
    """Return loss, accuracy and (if asked) curvature at center + c · direction.

    The curvature is the largest eigenvalue of D H D, where H is the Hessian of the mean training loss at the point
    and D the filters' norms *at that point*: what :func:`~widemargin.curvature.top_eigenvalues` says of the network
    moved there. It depends on the point alone, not on where the walk started, and rescaling a ReLU network layer
    by layer does not change it. Coefficients that occur again are evaluated once.

    Args:
        trained: The network at the center, with its data.
        direction: A direction of the user's, taken as it is, in place of a random one.
        coefficients: Multiples of the direction; by default 51 from −1 to 1.
        normalization: Units of a random direction, and of the curvature.
        seed: Where a random direction comes from: the first one of the seed, as in :func:`loss_surface`.
        split: ``"train"`` or ``"test"``.
        batch_norm: ``"kept"`` or ``"re-estimated"`` (from the training data, at each point).
        curvature: Whether to compute the curvature, too: some tens of passes a point.

    Raises:
        InvalidInputError: A direction that does not fit the network or is not finite, coefficients that are not
            finite, nothing that the normalization could move, or curvature with re-estimated statistics.
        EmptyDataError: There is no example.
        InvalidLogitsError: The network's own output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.

    Source: Li et al. 2018 (arXiv 1712.09913), section 4; the curvature as in Huang et al. 2019 (arXiv 1906.03291).

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[0.0], [2.0]]))
        >>> trained = TrainedModel(
        ...     net, (torch.ones(1, 1), torch.tensor([0])), loss=lambda logits, labels: (logits[:, 1] - 2) ** 2
        ... )
        >>> walk = loss_along(trained, coefficients=[-1.0, 0.0, 0.5], normalization="layer", direction=torch.ones(2))
        >>> walk.losses.tolist(), walk.num_evaluations
        ([1.0, 0.0, 0.25], 3)
    """
    if curvature and batch_norm != "kept":
        raise InvalidInputError(
            'curvature needs batch_norm="kept": statistics that are re-estimated depend on the parameters, and the '
            "Hessian leaves that out. Ask for the two in two walks."
        )
    steps = np.linspace(-1, 1, 51) if coefficients is None else _checked(coefficients)
    line = _line(trained, direction, normalization, seed)
    with trained.borrowed():
        evaluation = Evaluation(trained, split=split, batch_norm=batch_norm)
        values = line.values(evaluation, steps[:, None])
    caveats = line.caveats_on(evaluation, values)
    curvatures = residuals = None
    num_products = 0
    if curvature:
        curvatures, residuals = np.full((2, len(steps)), np.nan)
        found = _eigenvalues(trained, line, np.unique(steps[np.isfinite(values.losses)]), normalization)
        for c, one in found.items():
            curvatures[steps == c], residuals[steps == c] = one.values[0], one.residuals[0]
        num_products = sum(one.num_products for one in found.values())
        if num_open := sum(not one.has_converged for one in found.values()):
            caveats += (f"The curvature did not converge at {num_open} of {len(found)} points: see residuals.",)
    return Walk(
        steps,
        values.losses,
        values.accuracies,
        curvatures,
        residuals,
        line.normalization,
        line.seed,
        split,
        batch_norm,
        evaluation.num_evaluations,
        num_products,
        caveats,
    )


def _line(trained: TrainedModel, direction: Direction | None, normalization: Normalization, seed: int) -> Slice:
    if direction is None:
        return Slice.random(trained.network, 1, normalization, seed=seed)
    return Slice.spanned(trained.network, [direction])


def _checked(coefficients: Sequence[float] | Doubles) -> Doubles:
    steps = np.array(coefficients, dtype=np.float64)
    if steps.ndim != 1 or not len(steps) or not np.isfinite(steps).all():
        raise InvalidInputError(
            f"coefficients must be a sequence of one finite number or more, got the shape {list(steps.shape)} with "
            f"{int((~np.isfinite(steps)).sum())} that are NaN or infinite."
        )
    return steps


def _eigenvalues(
    trained: TrainedModel, line: Slice, coefficients: Doubles, normalization: Normalization
) -> dict[float, Eigenvalues]:
    space = ParameterSpace.of(trained.network)
    return {
        c: top_eigenvalues(trained, normalization=normalization, at=space.named(line.points(np.array([[c]]))[0]))
        for c in coefficients.tolist()
    }
