"""Pictures of the loss on a plane through a network's parameters."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]  # matplotlib types no 3-D axes
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.figures.colors import BADLY, LOSS_MAP
from widemargin.figures.scales import round_values, step_label
from widemargin.landscape.surface import Surface

__all__ = ["draw_loss_surface", "draw_loss_surface_3d", "loss_range", "lowest_point"]

Doubles = NDArray[np.float64]

NUM_LEVELS = 21


def loss_range(*surfaces: Surface) -> tuple[float, float]:
    """Return the lowest and the highest loss above 0 that is finite, so that surfaces can share their colors.

    Raises:
        InvalidInputError: There is no such loss.
    """
    losses = np.concatenate([surface.losses.ravel() for surface in surfaces])
    usable = losses[np.isfinite(losses) & (losses > 0)]
    if not len(usable):
        raise InvalidInputError(
            f"a logarithmic picture needs a loss that is positive and finite, got none among {len(losses)}. Look at "
            "the surface's caveats."
        )
    return float(usable.min()), float(usable.max())


def lowest_point(surface: Surface) -> tuple[float, float]:
    """Return x and y of the lowest loss; of several that are equal the one nearest to the network."""
    squares = surface.x**2 + surface.y[:, None] ** 2
    is_lowest = surface.losses == np.nanmin(surface.losses)
    row, column = np.unravel_index(np.where(is_lowest, squares, np.inf).argmin(), squares.shape)
    return float(surface.x[column]), float(surface.y[row])


def draw_loss_surface(ax: Axes, surface: Surface, *, between: tuple[float, float] | None = None) -> Axes:
    """Draw the logarithm of the loss as filled contours with a color bar, a mark at the minimum; return the axes.

    Losses beyond the colors' ends are drawn like those at the ends; NaN stays white.

    Args:
        ax: Where to draw.
        surface: As :func:`~widemargin.landscape.surface.loss_surface` makes it.
        between: Losses at the ends of the colors; default: :func:`loss_range` of this surface.

    Raises:
        InvalidInputError: No loss is positive and finite.

    Source: Li et al. 2018 (arXiv 1712.09913), section 4; the surfaces of Huang et al. 2019 (arXiv 1906.03291).
    """
    losses, low, high = _within(surface, between)
    filled = ax.contourf(
        surface.x,
        surface.y,
        np.ma.masked_invalid(losses),
        levels=np.geomspace(low, high, NUM_LEVELS),
        norm=LogNorm(low, high),
        cmap=LOSS_MAP,
    )
    bar = ax.figure.colorbar(filled, ax=ax, label=f"mean {surface.split} loss (log scale)", format="%g")
    bar.set_ticks(round_values(low, high))
    bar.minorticks_off()
    x, y = lowest_point(surface)
    ax.plot(x, y, marker="*", markersize=13, color="white", markeredgecolor="black", linestyle="none")
    ax.set_aspect("equal")  # both axes count the same unit
    ax.set_xlabel(step_label("first direction", surface.normalization))
    ax.set_ylabel(step_label("second direction", surface.normalization))
    return ax


def draw_loss_surface_3d(ax: Axes3D, surface: Surface, *, between: tuple[float, float] | None = None) -> Axes3D:
    """Draw the logarithm of the loss as a landscape, a mark at the minimum; return the axes.

    Args:
        ax: Axes with ``projection="3d"``.
        surface: As :func:`~widemargin.landscape.surface.loss_surface` makes it.
        between: Losses at the ends of the height and the colors; default: :func:`loss_range` of this surface.

    Raises:
        InvalidInputError: No loss is positive and finite.
    """
    losses, low, high = _within(surface, between)
    heights = np.log10(losses)
    ax.plot_surface(
        *np.meshgrid(surface.x, surface.y),
        heights,
        cmap=LOSS_MAP,
        vmin=np.log10(low),
        vmax=np.log10(high),
        rcount=len(surface.y),
        ccount=len(surface.x),
        linewidth=0,
    )
    x, y = lowest_point(surface)
    ax.plot([x], [y], [np.nanmin(heights)], marker="*", markersize=13, color=BADLY, markeredgecolor="black", zorder=9)
    ax.set_box_aspect(None, zoom=0.85)  # room for the labels
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.set_zlim(np.log10(low), np.log10(high))
    ax.zaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.zaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.3g}}}$"))
    ax.set_xlabel(step_label("first direction", surface.normalization), labelpad=8)
    ax.set_ylabel(step_label("second direction", surface.normalization), labelpad=8)
    ax.set_zlabel(f"mean {surface.split} loss")
    return ax


def _within(
    surface: Surface, between: tuple[float, float] | None
) -> tuple[Float[Doubles, "rows columns"], float, float]:
    low, high = loss_range(surface) if between is None else between
    if low == high:  # a flat surface needs room for its one color
        low, high = low / 2, high * 2
    return np.clip(surface.losses, low, high), low, high
