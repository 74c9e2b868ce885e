"""Grids of points over a rectangle."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError

__all__ = ["Extent", "extent_around", "grid_over"]

Doubles: TypeAlias = NDArray[np.float64]
Extent: TypeAlias = tuple[float, float, float, float]
"""Where two axes end: x low, x high, y low, y high."""


def extent_around(points: Float[Doubles, "points 2"]) -> Extent:
    """Return the smallest rectangle that holds the points, and a tenth of room on every side."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.1 * (high - low), 0.5)
    (x_low, y_low), (x_high, y_high) = (low - room).tolist(), (high + room).tolist()
    return x_low, x_high, y_low, y_high


def grid_over(
    extent: Extent, num_points: int
) -> tuple[Float[Doubles, " columns"], Float[Doubles, " rows"], Float[Doubles, "points 2"]]:
    """Return the values of x, those of y, and the points of the grid, row by row.

    Raises:
        InvalidInputError: Fewer than two points along an axis, or an axis that does not go up or is not finite.
    """
    if num_points < 2:
        raise InvalidInputError(f"num_points must be 2 or more along each axis, got {num_points}.")
    x_low, x_high, y_low, y_high = extent
    if not (-np.inf < x_low < x_high < np.inf and -np.inf < y_low < y_high < np.inf):
        raise InvalidInputError(
            "a grid goes from x low to x high and from y low to y high, all finite and each low below its high, got "
            f"{extent}."
        )
    x, y = np.linspace(x_low, x_high, num_points), np.linspace(y_low, y_high, num_points)
    return x, y, np.stack([part.ravel() for part in np.meshgrid(x, y)], axis=1)
