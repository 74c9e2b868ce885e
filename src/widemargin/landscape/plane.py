"""The plane that a training trajectory comes closest to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import InvalidInputError
from widemargin.landscape.directions import checked_direction
from widemargin.landscape.grid import Extent, extent_around
from widemargin.landscape.slices import Direction
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel

__all__ = ["Plane", "trajectory_plane"]

Doubles: TypeAlias = NDArray[np.float64]

COLUMNS_AT_ONCE = 2**20
"""Inner products are summed over so many parameters at once, so that little of the points is copied."""

FLAT = 1e-12
"""A second share below this is rounding: the points lie on a line."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions through a network, and a trajectory's coordinates along them.

    Attributes:
        directions: Orthonormal [parameter units], the one that explains more first.
        coordinates: Of each point of the trajectory [parameter units]; the network is at (0, 0).
        explained: Share of the summed squared distances to the network that lies along each direction.
    """

    directions: Float[Tensor, "2 parameters"]
    coordinates: Float[Doubles, "points 2"]
    explained: Float[Doubles, "2"]

    @property
    def extent(self) -> Extent:
        """What shows the whole trajectory and the network."""
        return extent_around(np.vstack([self.coordinates, np.zeros((1, 2))]))


def trajectory_plane(trained: TrainedModel, points: Sequence[Direction]) -> Plane:
    """Return the plane through the trained network that its training trajectory comes closest to.

    The principal directions of the differences to the network, from the matrix of their inner products: beside the
    points themselves it takes memory for one more copy of them. Hand it to :func:`loss_surface` as ``directions``.
    Note that random walks in many dimensions, too, have most of their variance in a few directions.

    Args:
        trained: The network at the end of the trajectory.
        points: Parameters at some moments of training, as flat vectors or by name (a ``state_dict()`` will do).

    Raises:
        InvalidInputError: A point does not fit the network or is not finite, or the points and the network lie on a
            line.

    Source: Li et al. 2018 (arXiv 1712.09913), section 7.

    Example:
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.zero_()
        >>> plane = trajectory_plane(TrainedModel(net, []), [torch.tensor([4.0, 3.0]), torch.tensor([4.0, -3.0])])
        >>> plane.coordinates.round(6).tolist(), plane.explained.round(6).tolist()
        ([[4.0, 3.0], [4.0, -3.0]], [0.64, 0.36])
    """
    space = ParameterSpace.of(trained.network)
    center = space.flat(trained.network)
    flat = [checked_direction(_parameters_of(point, space), space).to(center) for point in points]
    # The network's own zeros keep a trajectory of no point defined.
    differences = torch.stack([*flat, center]) - center
    if not bool(differences.isfinite().all()):
        raise InvalidInputError("points of a trajectory must be finite, got NaN or infinity. Leave such moments out.")
    products = torch.zeros(len(differences), len(differences), dtype=torch.float64, device=center.device)
    for some in torch.split(differences, COLUMNS_AT_ONCE, dim=1):  # no copy of all in double precision
        products += some.double() @ some.double().T
    squares, vectors = torch.linalg.eigh(products)
    squares, vectors = squares[-2:].flip(0), vectors[:, -2:].flip(1)
    total = float(products.trace())
    if len(flat) < 2 or not float(squares[1]) > FLAT * total:
        raise InvalidInputError(
            f"a plane takes points off one line with the network, got {len(flat)} points that lie on a line with it. "
            "Keep the parameters at more moments of training, or use loss_between."
        )
    signs = torch.where(vectors[0] < 0, -1.0, 1.0).double()  # the trajectory starts at positive coordinates
    lengths = squares.sqrt()
    coordinates = vectors * signs * lengths
    directions = (vectors * signs / lengths).T.to(center) @ differences
    return Plane(directions, coordinates[:-1].cpu().numpy(), (squares / total).cpu().numpy())


def _parameters_of(point: Direction, space: ParameterSpace) -> Direction:
    """Leave out what a state dict holds beside parameters."""
    if isinstance(point, Mapping):
        return {name: point[name] for name in space.names if name in point}
    return point
