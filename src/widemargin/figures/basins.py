"""Pictures of basins: the loss along many directions, their radii, and volume against gap."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.figures.colors import CLASSES
from widemargin.figures.scales import set_log_ticks, step_label
from widemargin.landscape.basins import BasinRadii

__all__ = ["draw_radii", "draw_rays", "draw_volume_against_gap"]

Doubles = NDArray[np.float64]

BINS_PER_DECADE = 20
"""Bins are the same for all networks with one cap, so that heights can be compared."""

MARKERS = "osD^vP"


def draw_rays(
    ax: Axes,
    coefficients: Float[Doubles, " points"],
    losses: Float[Doubles, "rays points"],
    cutoff: float,
    *,
    normalization: str = "filter",
    label: str = "",
    color: str = CLASSES[0],
) -> Axes:
    """Draw the loss along many directions from a minimum, and the cutoff that bounds its basin; return the axes.

    Args:
        ax: Where to draw; several networks can share it.
        coefficients: Steps along each direction.
        losses: Mean training loss of each step; what is not finite or not positive leaves a gap.
        cutoff: The loss that bounds the basin.
        normalization: Units of the steps, as a :class:`~widemargin.landscape.walk.Walk` names them.
        label: The network's name in a legend.
        color: Of the rays.

    Source: Huang et al. 2019 (arXiv 1906.03291), the basins along random directions.
    """
    shown = np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)
    ax.plot(coefficients, shown.T, color=color, linewidth=0.8, alpha=max(0.15, len(losses) ** -0.5))
    if label:
        ax.plot([], [], color=color, label=label)
    bound = f"cutoff {cutoff:g}"
    if bound not in ax.get_legend_handles_labels()[1]:
        ax.axhline(cutoff, color="black", linewidth=1, linestyle="--", label=bound)
    ax.set_yscale("log")
    set_log_ticks(ax.yaxis, *ax.get_ylim())
    ax.set_xlabel(step_label("distance from the minimum", normalization))
    ax.set_ylabel("mean training loss (log scale)")
    return ax


def draw_radii(ax: Axes, radii: BasinRadii, cutoff: float, *, label: str = "", color: str = CLASSES[0]) -> Axes:
    """Draw how many rays have which radius, those that reach the cap as a hatched bar beyond it; return the axes.

    A line stands at the median. Radii are on a logarithmic axis.

    Args:
        ax: Where to draw; several networks can share it.
        radii: As :func:`~widemargin.landscape.basins.basin_radii` makes them.
        cutoff: One of those that radii were measured for.
        label: The network's name in a legend.
        color: Of the bars.

    Raises:
        InvalidInputError: The radii were not measured for this cutoff.

    Source: Huang et al. 2019 (arXiv 1906.03291), the basins along random directions.
    """
    median = radii.median(cutoff).value
    column = radii.cutoffs.index(cutoff)
    is_censored = radii.is_censored[:, column]
    met = radii.radii[~is_censored, column]
    num_bins = int(np.ceil(BINS_PER_DECADE * np.log10(radii.cap / met.min(initial=radii.cap)) + 1e-9)) + 1
    edges = radii.cap * 10 ** (np.arange(-num_bins, 2) / BINS_PER_DECADE)
    counts = np.histogram(met, edges)[0]
    ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=color, alpha=0.7, label=label or None)
    if num_censored := int(is_censored.sum()):
        name = " ".join(filter(None, [label, f"reach the cap: {num_censored} of {len(is_censored)}"]))
        width = edges[-1] - radii.cap
        ax.bar(radii.cap, num_censored, width, align="edge", fill=False, hatch="////", edgecolor=color, label=name)
    ax.axvline(median, color=color, linewidth=1.5, linestyle="--")
    ax.set_xscale("log")
    set_log_ticks(ax.xaxis, *ax.get_xlim())
    ax.set_xlabel(step_label(f"radius at cutoff {cutoff:g}", radii.normalization))
    ax.set_ylabel("number of rays")
    return ax


def draw_volume_against_gap(
    ax: Axes,
    gaps: Float[Doubles, " networks"],
    log10_volumes: Float[Doubles, "networks cutoffs"],
    cutoffs: Sequence[float],
) -> Axes:
    """Draw the volume of each network's basin against its generalization gap, a color and marker for each cutoff.

    Args:
        ax: Where to draw.
        gaps: Train accuracy − test accuracy.
        log10_volumes: Decimal logarithms of the volumes; NaN where a basin has none at the cutoff.
        cutoffs: The losses that bound the basins, one a column.

    Returns:
        The axes.

    Raises:
        InvalidInputError: The columns are not as many as the cutoffs.

    Source: Huang et al. 2019 (arXiv 1906.03291), log volume against generalization gap.
    """
    if log10_volumes.shape[1] != len(cutoffs):
        raise InvalidInputError(
            f"log10_volumes must have a column for each of {len(cutoffs)} cutoffs, got {log10_volumes.shape[1]}."
        )
    for index, (cutoff, column) in enumerate(zip(cutoffs, log10_volumes.T, strict=True)):
        color, marker = CLASSES[index % len(CLASSES)], MARKERS[index % len(MARKERS)]
        ax.scatter(gaps, column, s=24, color=color, marker=marker, alpha=0.8, label=f"{cutoff:g}")
    ax.set_xlabel("generalization gap (train − test accuracy)")
    ax.set_ylabel("log₁₀ of the basin's volume")
    ax.legend(title="cutoff", frameon=False)
    return ax
