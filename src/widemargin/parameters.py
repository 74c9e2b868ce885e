"""A network's parameters as one flat vector, and back; the filters that they belong to."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["LARGE", "NUMBERS_AT_ONCE", "Normalization", "ParameterGroups", "ParameterSpace", "Unit", "squared_norm"]

Normalization: TypeAlias = Literal["filter", "layer", "none"]
"""In which units steps are measured: norms of filters, norms of whole layers, or the parameters' own."""


Unit: TypeAlias = Callable[[Tensor], Tensor]
"""From parameters to what a step of 1 is in each of them, number by number."""

LARGE = 2**23
"""Of networks with more parameters only a few copies are held at once, in their own precision."""

NUMBERS_AT_ONCE = 2**20
"""So many numbers are taken at once where a whole copy of them would be too much."""


@dataclass(frozen=True, eq=False)
class ParameterGroups:
    """The group of each parameter: its filter, its layer, or the whole network.

    Attributes:
        space: The parameters.
        lengths: Norm of each group, a column for each tensor of the space; 0 where parameters stay fixed (biases,
            norm parameters and zero filters under ``"filter"`` and ``"layer"``), 1 under ``"none"``.
        num_zero: How many groups stay fixed because all of their parameters are 0.
        normalization: What the groups are.
    """

    space: "ParameterSpace"
    lengths: tuple[Float[Tensor, "_ 1"], ...]
    num_zero: int
    normalization: Normalization

    @property
    def norms(self) -> Float[Tensor, " parameters"]:
        """Norm of the group that each parameter belongs to; 0 where it stays fixed."""
        return self._by_parameter(self.lengths)

    @property
    def sizes(self) -> Float[Tensor, " parameters"]:
        """How many parameters that group has; 0 where the parameter stays fixed."""
        return self._by_parameter(self._sizes())

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences on what stays fixed that one would expect to move."""
        if not self.num_zero:
            return ()
        return (f"{self.num_zero} {self.normalization}s are 0: they stay fixed, as biases do.",)

    @property
    def num_free(self) -> int:
        """How many parameters move: the dimension of balls and volumes."""
        moving = zip(self.lengths, self.space.sizes, strict=True)
        return sum(int((length > 0).sum()) * size // len(length) for length, size in moving)

    def rows(self, vector: Float[Tensor, " parameters"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a flat vector's part for each tensor, a row a group, and the groups' lengths; views of both."""
        for part, length in zip(vector.split_with_sizes(self.space.sizes), self.lengths, strict=True):
            yield part.view(len(length), -1), length

    def _sizes(self) -> Iterator[Float[Tensor, "_ 1"]]:
        for length, size in zip(self.lengths, self.space.sizes, strict=True):
            of_group = self.space.num_parameters if self.normalization == "none" else size // len(length)
            yield torch.where(length > 0, of_group, 0).to(length)

    def _by_parameter(self, columns: Iterable[Tensor]) -> Tensor:
        pairs = zip(columns, self.space.sizes, strict=True)
        return torch.cat([column.expand(-1, size // len(column)).flatten() for column, size in pairs])


@dataclass(frozen=True)
class ParameterSpace:
    """The floating parameters of a network in the order of ``named_parameters()``; tied ones once, empty ones never.

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
        named = {name: p for name, p in network.named_parameters() if p.is_floating_point() and p.numel()}
        if not named:
            raise InvalidInputError(
                "the network must have floating parameters to move, got none. Hand over one with layers that learn."
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

    @property
    def is_large(self) -> bool:
        """Whether only a few copies of the parameters may be held at once."""
        return self.num_parameters > LARGE

    @property
    def dtype(self) -> torch.dtype:
        """The precision of flat vectors: the highest of the tensors'."""
        return reduce(torch.promote_types, self.dtypes)

    @property
    def sum_dtype(self) -> torch.dtype:
        """The precision to add vectors up in: double; for large networks single, or their own where it is higher."""
        return torch.promote_types(self.dtype, torch.float32) if self.is_large else torch.float64

    def flat(self, tensors: nn.Module | Mapping[str, Tensor]) -> Float[Tensor, " parameters"]:
        """Return parameters (or gradients, or any tensors of the same names and shapes) as a new flat vector."""
        named = dict(tensors.named_parameters()) if isinstance(tensors, nn.Module) else tensors
        return torch.cat([named[name].detach().flatten() for name in self.names])

    def named(self, flat: Shaped[Tensor, " parameters"]) -> dict[str, Tensor]:
        """Return the tensors that a flat vector stands for: views of it, in the network's precisions."""
        return {
            name: view.to(dtype) for (name, view), dtype in zip(self.views(flat).items(), self.dtypes, strict=True)
        }

    def views(self, flat: Shaped[Tensor, " parameters"]) -> dict[str, Tensor]:
        """Return the parts of a flat vector as the tensors are shaped, in the vector's own precision and memory."""
        parts = zip(self.names, flat.split_with_sizes(self.sizes), self.shapes, strict=True)
        return {name: part.view(shape) for name, part, shape in parts}

    def pieces(
        self, tensors: Mapping[str, Tensor], *flat: Shaped[Tensor, " parameters"]
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield matching pieces of tensors by name and of flat vectors, views of a million numbers each at most.

        Args:
            tensors: One for each name of the space, of its shape.
            *flat: Vectors of the space.
        """
        parts = [vector.split_with_sizes(self.sizes) for vector in flat]
        for name, *own in zip(self.names, *parts, strict=True):
            whole = [tensors[name].detach().flatten(), *own]
            yield from zip(*(torch.split(each, NUMBERS_AT_ONCE) for each in whole), strict=True)

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
        if normalization not in ("filter", "layer", "none"):
            raise InvalidInputError(f"normalization must be filter, layer or none, got {normalization!r}.")
        lengths, num_zero = [], 0
        for part, shape in zip(flat.split_with_sizes(self.sizes), self.shapes, strict=True):
            if normalization == "none" or len(shape) < 2:
                lengths.append(part.new_full((1, 1), normalization == "none"))
            else:
                rows = part.view(shape[0] if normalization == "filter" else 1, -1)
                lengths.append(rows.norm(dim=1, keepdim=True))
                num_zero += int((lengths[-1] == 0).sum())
        groups = ParameterGroups(self, tuple(lengths), num_zero, normalization)
        if groups.num_free == 0:
            raise InvalidInputError(
                f"{normalization}-normalized directions move weights of two dimensions or more, but the network has "
                'none that is not 0. Use normalization="none", which moves every parameter.'
            )
        return groups


def squared_norm(values: Tensor) -> float:
    """Return the sum of all squares, in double precision, a million numbers at a time."""
    pieces = torch.split(values.flatten(), NUMBERS_AT_ONCE)
    return sum((piece.double().square().sum().item() for piece in pieces), start=0.0)
