"""Lines and planes through the parameters of a network, and the loss on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from widemargin.landscape.directions import Directions, checked_directions
from widemargin.landscape.evaluation import Evaluation, PointValues
from widemargin.parameters import Normalization, ParameterSpace

__all__ = ["Direction", "Slice", "Units"]

Doubles: TypeAlias = NDArray[np.float64]
Direction: TypeAlias = Tensor | Mapping[str, Tensor]
"""A direction of the user's: a flat vector, or a tensor for each parameter's name."""

Units: TypeAlias = Normalization | Literal["given"]
"""How directions were normalized; ``"given"``: they are the user's and were taken as they are."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The points center + Σ coordinate · direction of a network's parameter space.

    Attributes:
        center: Where all coordinates are 0.
        directions: One a row.
        normalization: Their units.
        seed: Where random directions come from.
        caveats: Sentences on what does not move.
    """

    center: Float[Tensor, " parameters"]
    directions: Float[Tensor, "directions parameters"]
    normalization: Units = "given"
    seed: int | None = None
    caveats: tuple[str, ...] = ()

    @classmethod
    def spanned(cls, network: nn.Module, directions: Sequence[Direction]) -> "Slice":
        """Return the slice through a network along directions of the user's, taken as they are.

        Raises:
            InvalidInputError: A direction does not fit the network, is not finite, or is 0.
        """
        space = ParameterSpace.of(network)
        center = space.flat(network)
        return cls(center, checked_directions(directions, space, center))

    @classmethod
    def random(cls, network: nn.Module, num: int, normalization: Normalization, *, seed: int) -> "Slice":
        """Return the slice through a network along the first ``num`` directions of a seed.

        Raises:
            InvalidInputError: An unknown normalization, or nothing that it could move.
        """
        directions = Directions.around(network, normalization, seed=seed)
        center = directions.space.flat(network)
        return cls(center, directions.stacked(range(num)), normalization, seed, directions.groups.caveats)

    def points(self, coordinates: Float[Doubles, "points directions"]) -> Float[Tensor, "points parameters"]:
        """Return the points of parameter space that coordinates stand for."""
        return self.center + torch.from_numpy(coordinates).to(self.center) @ self.directions

    def values(self, evaluation: Evaluation, coordinates: Float[Doubles, "points directions"]) -> PointValues:
        """Return loss and accuracy at coordinates; a point that occurs again is evaluated once.

        No more points are made at once than are evaluated at once.
        """
        unique, inverse = np.unique(coordinates, axis=0, return_inverse=True)
        size = evaluation.points_at_once
        parts = [evaluation.at(self.points(unique[start : start + size])) for start in range(0, len(unique), size)]
        losses, accuracies = (
            np.concatenate([getattr(part, name) for part in parts])[inverse.reshape(-1)]
            for name in ("losses", "accuracies")
        )
        return PointValues(losses, accuracies)

    def caveats_on(self, evaluation: Evaluation, values: PointValues) -> tuple[str, ...]:
        """Return sentences on what does not move, is not finite, or was slow."""
        caveats = list(self.caveats)
        if values.num_not_finite:
            caveats.append(f"{values.num_not_finite} of {len(values.losses)} losses are NaN or infinite.")
        if evaluation.why_one_by_one:
            caveats.append(f"Points were evaluated one by one, as vmap cannot: {evaluation.why_one_by_one}")
        return tuple(caveats)
