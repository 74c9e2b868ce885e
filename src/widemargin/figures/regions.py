"""Pictures of decision regions with the training examples on them."""

from functools import partial
from typing import cast

import numpy as np
from contourpy import contour_generator
from jaxtyping import Bool, Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.figures.colors import class_color
from widemargin.landscape.boundary import DecisionRegions

__all__ = ["RegionArtists", "boundary_lines", "draw_decision_regions"]

Doubles = NDArray[np.float64]

TINT = 0.4
"""Share of a class's color in its region; the rest is white, so that its examples stand out."""


def boundary_lines(regions: DecisionRegions, frame: int = 0) -> list[Float[Doubles, "points 2"]]:
    """Return the lines between the regions, interpolated to where the margin is 0.

    Args:
        regions: Class and margin on a grid.
        frame: Which of several networks.

    Raises:
        InvalidInputError: There is no such frame.

    Example:
        >>> regions = DecisionRegions(
        ...     x=np.array([0.0, 4.0]), y=np.array([0.0, 1.0]), classes=np.array([[0, 1], [0, 1]]),
        ...     margins=np.array([[1.0, 3.0], [1.0, 3.0]]), inputs=np.zeros((0, 2)), labels=np.zeros(0, dtype=int),
        ...     is_correct=np.zeros(0, dtype=bool), caveats=(),
        ... )
        >>> [line.tolist() for line in boundary_lines(regions)]
        [[[1.0, 1.0], [1.0, 0.0]]]
    """
    classes, margins, _ = _of_frame(regions, frame)
    lines: list[Doubles] = []
    for one in np.unique(classes[classes >= 0])[1:]:  # the first class ends where the others begin
        ahead = np.ma.masked_invalid(np.where(classes == one, margins, -margins))
        lines += cast(list[Doubles], contour_generator(regions.x, regions.y, ahead).lines(0.0))
    return lines


class RegionArtists:
    """What is drawn of decision regions, so that one frame can take another's place.

    Args:
        ax: Where to draw.
        regions: What to draw; nothing is seen before the first :meth:`show`.
        has_legend: Whether a legend is put below the axes.

    Attributes:
        artists: Everything that changes from frame to frame, the lowest first.
    """

    def __init__(self, ax: Axes, regions: DecisionRegions, *, has_legend: bool = True) -> None:
        x, y = regions.x, regions.y
        half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
        self.regions = regions
        self._image = ax.imshow(
            np.ones((len(y), len(x), 3)),
            extent=(x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y),  # the grid is the pixels' centers
            origin="lower",
            interpolation="bilinear",
            aspect="equal",
        )
        self._boundary = LineCollection([], colors="black", linewidths=1.2)
        ax.add_collection(self._boundary, autolim=False)
        self._right = ax.scatter([], [], s=14, marker="o", edgecolors="white", linewidths=0.4, zorder=2)
        self._wrong = ax.scatter([], [], s=46, marker="X", edgecolors="black", linewidths=0.9, zorder=3)
        self.artists: tuple[Artist, ...] = (self._image, self._boundary, self._right, self._wrong)
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        ax.set_xlabel("first input feature")
        ax.set_ylabel("second input feature")
        if has_legend:
            ax.legend(
                handles=_legend_handles(regions),
                loc="upper center",
                bbox_to_anchor=(0.5, 0.0),
                borderaxespad=3.5,
                ncols=5,
                handlelength=1.2,
                columnspacing=1.2,
                frameon=False,
            )

    def show(self, frame: int) -> None:
        """Show one of the networks.

        Raises:
            InvalidInputError: There is no such frame.
        """
        classes, _, is_correct = _of_frame(self.regions, frame)
        found, where = np.unique(classes, return_inverse=True)
        colors = np.array([to_rgb(class_color(one)) for one in found.tolist()])
        self._image.set_data(1 - TINT * (1 - colors[where.reshape(classes.shape)]))
        self._boundary.set_segments(boundary_lines(self.regions, frame))
        for points, which in ((self._right, is_correct), (self._wrong, ~is_correct)):
            points.set_offsets(self.regions.inputs[which])
            points.set_facecolor([class_color(label) for label in self.regions.labels[which].tolist()])


def draw_decision_regions(ax: Axes, regions: DecisionRegions, *, frame: int = 0, has_legend: bool = True) -> Axes:
    """Draw the regions, the boundary and the training examples; return the axes.

    Examples that the network gets right are dots, the others crosses, both in the color of the class that they were
    trained to.

    Args:
        ax: Where to draw; it gets equal scales.
        regions: As :func:`~widemargin.landscape.boundary.decision_regions` makes them.
        frame: Which of several networks.
        has_legend: Whether a legend is put below the axes.

    Raises:
        InvalidInputError: There is no such frame.

    Source: the decision boundaries of Huang et al. 2019 (arXiv 1906.03291).
    """
    RegionArtists(ax, regions, has_legend=has_legend).show(frame)
    return ax


def _of_frame(
    regions: DecisionRegions, frame: int
) -> tuple[
    Int[NDArray[np.int64], "rows columns"], Float[Doubles, "rows columns"], Bool[NDArray[np.bool_], " examples"]
]:
    grid = (len(regions.y), len(regions.x))
    classes, margins = regions.classes.reshape(-1, *grid), regions.margins.reshape(-1, *grid)
    if not 0 <= frame < len(classes):
        raise InvalidInputError(f"frame must be from 0 to {len(classes) - 1}, got {frame}.")
    return classes[frame], margins[frame], regions.is_correct.reshape(len(classes), -1)[frame]


def _legend_handles(regions: DecisionRegions) -> list[Artist]:
    found = np.union1d(regions.classes, regions.labels).tolist()
    patches = [Patch(color=class_color(one), label=f"class {one}" if one >= 0 else "not finite") for one in found]
    point = partial(Line2D, [], [], linestyle="none", color="dimgrey")
    return [
        *patches,
        point(marker="o", markersize=4, label="right"),
        point(marker="X", markersize=7, markeredgecolor="black", label="wrong"),
    ]
