"""A network's parameters as one flat vector, and back; the filters that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["Normalization", "ParameterGroups", "ParameterSpace"]

Normalization: TypeAlias = Literal["filter", "layer", "none"]
"""In which units steps are measured: norms of filters, norms of whole layers, or the parameters' own."""


@dataclass(frozen=True, eq=False)
class ParameterGroups:
    """The group of each parameter: its filter, its layer, or the whole network.

    Attributes:
        norms: Norm of the group that a parameter belongs to; 0 where the parameter stays fixed (biases, norm
            parameters and zero filters under ``"filter"`` and ``"layer"``), 1 under ``"none"``.
        sizes: How many parameters that group has; 0 where the parameter stays fixed.
        num_zero: How many groups stay fixed because all of their parameters are 0.
        normalization: What the groups are.
    """

    norms: Float[Tensor, " parameters"]
    sizes: Float[Tensor, " parameters"]
    num_zero: int
    normalization: Normalization

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences on what stays fixed that one would expect to move."""
        if not self.num_zero:
            return ()
        return (f"{self.num_zero} {self.normalization}s are 0: they stay fixed, as biases do.",)

    @property
    def num_free(self) -> int:
        """How many parameters move: the dimension of balls and volumes."""
        return int((self.sizes > 0).sum())


@dataclass(frozen=True)
class ParameterSpace:
    """The floating parameters of a network in the order of ``named_parameters()``; tied ones once.

    Attributes:
        names: Dotted names.
        shapes: Their shapes.
        dtypes: Their precisions.

    Example:
        >>> space = ParameterSpace.of(nn.Linear(2, 3))
        >>> space.num_parameters
        9
        >>> space.named(torch.arange(9.0))["bias"]
        tensor([6., 7., 8.])
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, network: nn.Module) -> "ParameterSpace":
        """Return the space that the network's parameters are a point of.

        Raises:
            InvalidInputError: The network has no floating parameters.
        """
        named = {name: p for name, p in network.named_parameters() if p.is_floating_point()}
        if not named:
            raise InvalidInputError(
                "the network must have floating parameters to move, got none. Lazy layers need a forward pass first."
            )
        return cls(tuple(named), tuple(p.shape for p in named.values()), tuple(p.dtype for p in named.values()))

    @property
    def sizes(self) -> list[int]:
        """How many numbers each parameter tensor holds."""
        return [prod(shape) for shape in self.shapes]

    @property
    def num_parameters(self) -> int:
        """Dimension of the space."""
        return sum(self.sizes)

    def flat(self, tensors: nn.Module | Mapping[str, Tensor]) -> Float[Tensor, " parameters"]:
        """Return parameters (or gradients, or any tensors of the same names and shapes) as a new flat vector."""
        named = dict(tensors.named_parameters()) if isinstance(tensors, nn.Module) else tensors
        return torch.cat([named[name].detach().flatten() for name in self.names])

    def named(self, flat: Shaped[Tensor, " parameters"]) -> dict[str, Tensor]:
        """Return the tensors that a flat vector stands for: views of it, in the network's precisions."""
        parts = flat.split_with_sizes(self.sizes)
        return {
            name: part.view(shape).to(dtype)
            for name, part, shape, dtype in zip(self.names, parts, self.shapes, self.dtypes, strict=True)
        }

    def stacked(self, points: Shaped[Tensor, "points parameters"]) -> dict[str, Tensor]:
        """Return the tensors that many flat vectors stand for, with the points as the first dimension."""
        parts = points.split_with_sizes(self.sizes, dim=1)
        return {
            name: part.reshape(len(points), *shape).to(dtype)
            for name, part, shape, dtype in zip(self.names, parts, self.shapes, self.dtypes, strict=True)
        }

    def kernels(self) -> Bool[Tensor, " parameters"]:
        """Return which parameters belong to a weight of two dimensions or more."""
        return torch.cat([torch.full((prod(shape),), len(shape) >= 2) for shape in self.shapes])

    def groups(self, flat: Float[Tensor, " parameters"], normalization: Normalization = "filter") -> ParameterGroups:
        """Return which norm each parameter is measured by at a point of the space.

        A filter is what computes one output unit: one index of the first dimension of a weight with two dimensions
        or more. Biases and the parameters of norms have no filter and stay fixed under ``"filter"`` and ``"layer"``.

        Raises:
            InvalidInputError: An unknown normalization, or no weight with two dimensions that is not 0.

        Source: Li et al. 2018 (arXiv 1712.09913), section 4; fixed biases as in the code of Huang et al. 2019.
        """
        if normalization == "none":
            return ParameterGroups(torch.ones_like(flat), torch.full_like(flat, len(flat)), 0, normalization)
        if normalization not in ("filter", "layer"):
            raise InvalidInputError(f"normalization must be filter, layer or none, got {normalization!r}.")
        norms, sizes, num_zero = [], [], 0
        for part, shape in zip(flat.split_with_sizes(self.sizes), self.shapes, strict=True):
            if len(shape) < 2:
                norms.append(torch.zeros_like(part))
                sizes.append(torch.zeros_like(part))
                continue
            rows = part.view(shape[0] if normalization == "filter" else 1, -1)
            row_norms = rows.norm(dim=1, keepdim=True)
            num_zero += int((row_norms == 0).sum())
            norms.append(row_norms.expand_as(rows).flatten())
            sizes.append(torch.where(row_norms > 0, rows.shape[1], 0).to(part.dtype).expand_as(rows).flatten())
        groups = ParameterGroups(torch.cat(norms), torch.cat(sizes), num_zero, normalization)
        if groups.num_free == 0:
            raise InvalidInputError(
                f"{normalization}-normalized directions move weights of two dimensions or more, but the network has "
                'none that is not 0. Use normalization="none", which moves every parameter.'
            )
        return groups
