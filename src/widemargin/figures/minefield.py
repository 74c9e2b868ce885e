"""Picture of a training trajectory among the bad minima that it passes by."""

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from widemargin.figures.colors import ACCURACY_MAP

__all__ = ["draw_minefield"]

Doubles = NDArray[np.float64]

PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}


def draw_minefield(
    ax: Axes,
    coordinates: Float[Doubles, "points 2"],
    test_accuracies: Float[Doubles, " points"],
    is_trajectory: Bool[NDArray[np.bool_], " points"],
) -> Axes:
    """Draw networks as points colored by test accuracy, the trajectory's connected in their order; return the axes.

    Args:
        ax: Where to draw; a color bar is put beside it.
        coordinates: Of each network, as t-SNE places them: only who is near whom has a meaning.
        test_accuracies: Share of the test examples that each classifies correctly.
        is_trajectory: Which points belong to the trajectory, in the order of training; the others are bad minima.

    Source: Huang et al. 2019 (arXiv 1906.03291), figure 1.
    """
    path = coordinates[is_trajectory]
    ax.plot(*path.T, color="black", linewidth=1, zorder=1)
    for which, marker, label in ((~is_trajectory, "X", "bad minima"), (is_trajectory, "o", "training trajectory")):
        points = ax.scatter(
            coordinates[which, 0],
            coordinates[which, 1],
            s=46,
            c=test_accuracies[which],
            marker=marker,
            cmap=ACCURACY_MAP,
            vmin=0.0,
            vmax=1.0,
            edgecolors="black",
            linewidths=0.5,
            label=label,
        )
    for name, place in (("start", path[:1]), ("end", path[-1:])):
        for point in place:
            ax.annotate(name, point, xytext=(6, 6), textcoords="offset points", weight="bold", bbox=PLATE)
    ax.figure.colorbar(points, ax=ax, label="test accuracy", format=PercentFormatter(1.0))
    ax.set_xlabel("t-SNE, first coordinate [no unit]")
    ax.set_ylabel("t-SNE, second coordinate [no unit]")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=3.5, ncols=2)
    return ax
