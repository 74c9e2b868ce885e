"""How far the basin of a minimum reaches along random directions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import InvalidInputError
from widemargin.landscape.crossings import check_search, first_crossings, loss_at_minimum
from widemargin.landscape.directions import Directions, checked_directions
from widemargin.landscape.evaluation import BatchNormStatistics, Evaluation
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["BasinRadii", "basin_radii"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BasinRadii:
    """Distances from a minimum to the first crossing of each cutoff, along directions and their opposites.

    Attributes:
        radii: Distance at which the mean training loss first exceeds the cutoff [multiples of the direction: under
            ``"filter"`` 1 moves every filter by its norm]; rows 2k and 2k + 1 are direction k and its opposite.
        is_censored: Where no crossing was met up to the cap; the radius is the cap there.
        cutoffs: The losses [nats for cross-entropy] that bound the basins, one a column.
        cap: How far was looked.
        loss: Mean training loss of the minimum itself.
        normalization: In which units steps are; ``"given"`` for directions of the caller's.
        num_free: How many parameters the directions move.
        seed: Where the directions come from; ``None`` for directions of the caller's.
        num_evaluations: Passes over the training data, those that found where to begin included.
        num_not_finite: How many rays met a loss that is NaN or infinite, which counts as above every cutoff.
        caveats: Sentences on when not to believe the numbers.
    """

    radii: Float[Doubles, "rays cutoffs"]
    is_censored: Bool[NDArray[np.bool_], "rays cutoffs"]
    cutoffs: tuple[float, ...]
    cap: float
    loss: float
    normalization: str
    num_free: int
    seed: int | None
    num_evaluations: int
    num_not_finite: int
    caveats: tuple[str, ...] = ()

    @property
    def num_directions(self) -> int:
        """How many directions were taken, a direction and its opposite counted once."""
        return len(self.radii) // 2

    @property
    def evaluations_per_radius(self) -> float:
        """Passes over the training data per radius; cutoffs share them."""
        return self.num_evaluations / self.radii.size

    def mean(self, cutoff: float) -> Estimate:
        """Return the mean radius for a cutoff; its error takes a direction and its opposite as one draw.

        Raises:
            InvalidInputError: The radii were not measured for this cutoff.
        """
        column = self._column(cutoff)
        pairs = self.radii[:, column].reshape(-1, 2).mean(axis=1)
        error = pairs.std(ddof=1) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.inf
        return Estimate(float(pairs.mean()), float(error), caveats=self._lower_bound("mean", column))

    def median(self, cutoff: float) -> Estimate:
        """Return the median radius for a cutoff; its error spans the quantiles one error of the rank beside it.

        Raises:
            InvalidInputError: The radii were not measured for this cutoff.
        """
        column = self._column(cutoff)
        beside = 0.5 / math.sqrt(self.num_directions)
        low, middle, high = np.quantile(self.radii[:, column], [0.5 - beside, 0.5, 0.5 + beside])
        error = (high - low) / 2 if self.num_directions > 1 else math.inf
        caveats = self._lower_bound("median", column) if middle >= self.cap else ()
        return Estimate(float(middle), float(error), caveats=caveats)

    def _column(self, cutoff: float) -> int:
        if cutoff not in self.cutoffs:
            known = ", ".join(map(str, self.cutoffs))
            raise InvalidInputError(f"cutoff must be one that was measured ({known}), got {cutoff}.")
        return self.cutoffs.index(cutoff)

    def _lower_bound(self, name: str, column: int) -> tuple[str, ...]:
        num_censored = int(self.is_censored[:, column].sum())
        if not num_censored:
            return ()
        return (
            f"The {name} is a lower bound: {num_censored} of {len(self.radii)} rays stay below the cutoff up to the "
            f"cap of {self.cap}.",
        )


def basin_radii(
    trained: TrainedModel,
    *,
    cutoffs: Sequence[float] = (0.1,),
    num_directions: int = 100,
    directions: Float[Tensor, "directions parameters"] | Sequence[Mapping[str, Tensor]] | None = None,
    cap: float = 1.0,
    precision: float = 0.01,
    normalization: Normalization = "filter",
    batch_norm: BatchNormStatistics = "kept",
    seed: int = 0,
) -> BasinRadii:
    """Return how far the loss stays below each cutoff along random directions and their opposites.

    Rays are scanned outward by steps of a factor 1.3 until a cutoff is crossed. Two kinds of ridge can be skipped:
    one whose far side is less than 1.3 times as far from the minimum as its near side, and one that lies wholly
    nearer than the scan begins, which is at half to all of the smallest radius that the first two directions have in
    steps of a factor 2. A ray that is above the cutoff already there is scanned from further inside.

    Args:
        trained: The network with its training data.
        cutoffs: Mean training losses that bound the basin.
        num_directions: How many directions; each is followed both ways.
        directions: Directions of the caller's own in place of random ones, used as they are.
        cap: How far to look [multiples of the direction].
        precision: Largest ratio, less 1, of the two distances between which a crossing is known to lie; the radius
            is interpolated between them.
        normalization: Units of the random directions, see :class:`~widemargin.landscape.Directions`.
        batch_norm: ``"re-estimated"`` takes fresh BatchNorm statistics at each point.
        seed: Where the random directions come from.

    Raises:
        InvalidInputError: The minimum's own loss is not below every cutoff; a number out of range; a direction that
            does not fit; or no weight that the normalization could move.

    Source: Huang et al. 2019 (arXiv 1906.03291), section 5.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[2.0], [0.0]]))
        >>> trained = TrainedModel(
        ...     net, (torch.ones(1, 1), torch.tensor([0])), loss=lambda logits, labels: (logits[:, 0] - 2) ** 2
        ... )
        >>> radii = basin_radii(trained, cutoffs=(0.01, 0.04), num_directions=5)
        >>> radii.radii.shape, round(radii.mean(0.04).value, 5)
        ((10, 2), 0.1)
    """
    check_search(cutoffs=cutoffs, num_directions=num_directions, cap=cap)
    if not 1e-6 <= precision <= 0.1:
        raise InvalidInputError(f"precision must be from 1e-6 to 0.1, got {precision}. 0.01 is one percent.")
    with trained.borrowed() as network:
        evaluation = Evaluation(trained, batch_norm=batch_norm)
        draw: Callable[[Sequence[int]], Tensor]
        caveats: tuple[str, ...] = ()
        if directions is None:
            random = Directions.around(network, normalization, seed=seed)
            draw, num_free, caveats = random.stacked, random.groups.num_free, random.groups.caveats
        else:
            if len(directions) == 0:
                raise InvalidInputError("directions must hold one direction or more, got none.")
            own = checked_directions(directions, evaluation.space, evaluation.center)
            draw, num_free = own.__getitem__, int((own != 0).any(dim=0).sum())
            num_directions = len(own)
        loss = loss_at_minimum(evaluation, cutoffs)
        found = first_crossings(
            evaluation,
            lambda indices: (draw(list(indices)), np.full(len(indices), cap)),
            num_directions=num_directions,
            cutoffs=cutoffs,
            loss=loss,
            precision=precision,
        )
    return BasinRadii(
        found.radii,
        found.is_censored,
        tuple(cutoffs),
        cap,
        loss,
        normalization if directions is None else "given",
        num_free,
        seed if directions is None else None,
        evaluation.num_evaluations,
        found.num_not_finite,
        caveats + found.caveats,
    )
