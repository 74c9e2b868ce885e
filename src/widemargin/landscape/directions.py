"""Directions in parameter space: drawn from a seed when they are needed, never stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from widemargin.errors import InvalidInputError
from widemargin.parameters import Normalization, ParameterGroups, ParameterSpace

__all__ = ["Directions", "checked_direction", "checked_directions"]


@dataclass(frozen=True, eq=False)
class Directions:
    """Random directions around a network, in units of its filters, its layers, or its parameters.

    Under ``"filter"`` each filter's part is Gaussian, scaled to the filter's own norm, so that a step of 1 moves
    every filter by its norm; biases and norm parameters stay fixed. ``"layer"`` does the same with whole weights.
    Under ``"none"`` a direction is Gaussian over all parameters with length 1.

    Attributes:
        space: The parameters that the directions run through.
        groups: Which norm each parameter is measured by.
        seed: Direction k follows from the seed and k alone, whatever else is drawn.

    Source: Li et al. 2018 (arXiv 1712.09913), section 4.

    Example:
        >>> directions = Directions.around(nn.Linear(4, 2), seed=0)
        >>> directions.stacked([0, 1, 2]).shape
        torch.Size([3, 10])
    """

    space: ParameterSpace
    groups: ParameterGroups
    seed: int

    @classmethod
    def around(cls, network: nn.Module, normalization: Normalization = "filter", *, seed: int) -> "Directions":
        """Return the directions around a network as it stands now.

        Raises:
            InvalidInputError: An unknown normalization, or nothing that it could move.
        """
        space = ParameterSpace.of(network)
        return cls(space, space.groups(space.flat(network), normalization), seed)

    def stacked(self, indices: Sequence[int]) -> Float[Tensor, "directions parameters"]:
        """Return the directions with these numbers, one a row."""
        like = self.groups.lengths[0]
        drawn = torch.empty(len(indices), self.space.num_parameters, dtype=like.dtype, device=like.device)
        for direction, index in zip(drawn, indices, strict=True):
            direction.copy_(_gaussian(len(direction), self.seed, index))
            if self.groups.normalization == "none":
                direction.div_(direction.norm())
                continue
            for rows, lengths in self.groups.rows(direction):
                rows.mul_(lengths / rows.norm(dim=1, keepdim=True))
        return drawn


def checked_direction(
    direction: Tensor | Mapping[str, Tensor], space: ParameterSpace
) -> Float[Tensor, " parameters"]:
    """Return a user's direction as a flat vector.

    Raises:
        InvalidInputError: It has other names or another shape than the network's parameters.
    """
    if isinstance(direction, Tensor):
        if direction.shape != (space.num_parameters,):
            raise InvalidInputError(
                f"a direction must be a vector of the network's {space.num_parameters} parameters, got the shape "
                f"{list(direction.shape)}. Hand over a tensor for each parameter's name instead, or flatten them in "
                "the order of named_parameters()."
            )
        return direction.detach()
    expected = dict(zip(space.names, space.shapes, strict=True))
    got = {name: tensor.shape for name, tensor in direction.items()}
    for name in {**expected, **got}:
        if expected.get(name) != got.get(name):
            shapes = [list(shape) if shape is not None else "none" for shape in (expected.get(name), got.get(name))]
            raise InvalidInputError(
                f"a direction must have a tensor of the shape of each parameter, but for {name!r} the network has "
                f"{shapes[0]} and the direction {shapes[1]}."
            )
    return space.flat(direction)


def checked_directions(
    directions: Iterable[Tensor | Mapping[str, Tensor]], space: ParameterSpace, center: Float[Tensor, " parameters"]
) -> Float[Tensor, "directions parameters"]:
    """Return a user's directions, one or more, as rows in the device and precision of the center.

    Raises:
        InvalidInputError: One does not fit the network, is not finite, or is 0.
    """
    flat = torch.stack([checked_direction(direction, space).to(center) for direction in directions])
    if not bool((flat.isfinite().all(dim=1) & (flat != 0).any(dim=1)).all()):
        raise InvalidInputError(
            "a direction must be finite and not all 0, so that the network moves along it. Look at what it was "
            "computed from."
        )
    return flat


def _gaussian(num: int, seed: int, index: int) -> Tensor:
    """Draw on the processor in single precision, so that a seed means the same on every device."""
    state = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
    return torch.randn(num, generator=torch.Generator().manual_seed(state))
