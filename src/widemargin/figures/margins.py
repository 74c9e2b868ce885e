"""Pictures of margin distributions: densities, and box plots of the order statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from widemargin.margins import MarginDistribution

__all__ = [
    "Density",
    "OrderStatistics",
    "draw_margin_density",
    "draw_order_statistics",
    "margin_densities",
    "order_statistics",
]

Doubles = NDArray[np.float64]
NUM_POINTS = 200


@dataclass(frozen=True, eq=False)
class Density:
    """Kernel density estimate of the normalized margins at one layer.

    Attributes:
        layer: Name of the layer.
        margins: Where the density is given [root of the layer's total variation].
        density: The estimate, which integrates to 1 over all margins.
        share_misclassified: Share of examples with a margin of 0 or less.
    """

    layer: str
    margins: Float[Doubles, " points"]
    density: Float[Doubles, " points"]
    share_misclassified: float


@dataclass(frozen=True)
class OrderStatistics:
    """The five order statistics of the normalized margins at one layer."""

    layer: str
    lower_fence: float
    q1: float
    median: float
    q3: float
    upper_fence: float


def margin_densities(
    distribution: MarginDistribution, ranges: Mapping[str, tuple[float, float]] | None = None
) -> list[Density]:
    """Return the density of all finite normalized margins at each layer; Gaussian kernels, Scott's bandwidth.

    A layer whose margins are all the same has no density and is left out.

    Args:
        distribution: The margins.
        ranges: From where to where each layer is shown; default: :func:`central_range`.
    """
    densities = []
    for layer, column in zip(distribution.layers, distribution.normalized.T, strict=True):
        values = column[np.isfinite(column)]
        if len(values) < 2 or np.ptp(values) == 0:
            continue
        low, high = (ranges or {}).get(layer) or central_range(values)
        points = np.linspace(low, high, NUM_POINTS)
        share = float((column <= 0).mean())
        densities.append(Density(layer, points, gaussian_kde(values)(points), share))
    return densities


def central_range(values: Float[Doubles, " examples"]) -> tuple[float, float]:
    """Return the range of the decision boundary and the middle 98 % of the values, a tenth wider on either side."""
    low, high = np.quantile(values, [0.01, 0.99])
    low, high = min(low, 0.0), max(high, 0.0)
    return float(low - 0.1 * (high - low)), float(high + 0.1 * (high - low))


def order_statistics(distribution: MarginDistribution) -> list[OrderStatistics]:
    """Return fences, quartiles and median of the correct examples' normalized margins at each layer.

    Raises:
        TooFewExamplesError: Fewer than four correct examples.
    """
    signature = distribution.signature("quartiles")
    names = ("lower_fence", "q1", "median", "q3", "upper_fence")
    return [
        OrderStatistics(layer, *(signature[f"{layer}/{name}"] for name in names)) for layer in distribution.layers
    ]


def draw_margin_density(ax: Axes, density: Density, *, label: str = "", color: str | None = None) -> Axes:
    """Draw one layer's density, a line at the decision boundary; return the axes."""
    (line,) = ax.plot(density.margins, density.density, label=label or None, color=color)
    ax.fill_between(density.margins, density.density, alpha=0.15, color=line.get_color())
    ax.axvline(0.0, color="grey", linewidth=0.8, linestyle="--")
    ax.set_ylim(bottom=0.0)
    ax.set_title(density.layer)
    ax.set_xlabel("normalized margin")
    ax.set_ylabel("density")
    return ax


def draw_order_statistics(ax: Axes, statistics: Sequence[OrderStatistics], *, color: str | None = None) -> Axes:
    """Draw a box plot per layer from the order statistics, margins on a logarithmic axis; return the axes."""
    boxes = [
        {
            "label": s.layer,
            "whislo": s.lower_fence,
            "q1": s.q1,
            "med": s.median,
            "q3": s.q3,
            "whishi": s.upper_fence,
        }
        for s in statistics
    ]
    style = {"color": color} if color else {}
    ax.bxp(boxes, showfliers=False, boxprops=style, whiskerprops=style, capprops=style)
    ax.set_yscale("log")
    ax.set_ylabel("normalized margin (log scale)")
    ax.set_xlabel("layer")
    return ax
