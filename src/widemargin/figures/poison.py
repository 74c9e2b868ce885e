"""Pictures of what poison does: gap, radius and volume against the poison factor."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.figures.colors import CLASSES
from widemargin.figures.scales import set_log_ticks

__all__ = ["PoisonedQuantity", "draw_against_poison"]

Doubles = NDArray[np.float64]
PoisonedQuantity: TypeAlias = Literal["gap", "radius", "volume"]

LABELS: Mapping[str, str] = {
    "gap": "generalization gap (train − test accuracy)",
    "radius": "mean basin radius [filter norm]",
    "volume": "log₁₀ of the basin's volume",
}


def draw_against_poison(
    ax: Axes,
    factors: Float[Doubles, " networks"],
    values: Float[Doubles, " networks"],
    *,
    quantity: PoisonedQuantity = "gap",
    standard_errors: Float[Doubles, " networks"] | None = None,
    label: str = "",
    color: str = CLASSES[0],
) -> Axes:
    """Draw one quantity of many networks against their poison factor, a line through the means; return the axes.

    The axis is logarithmic from the smallest positive factor on, and linear between it and 0, so that networks that
    were not poisoned have their true place; a dotted line marks where the scale changes.

    Args:
        ax: Where to draw.
        factors: Poison factor β of each network, 0 for natural training.
        values: Gap, radius or log10 volume of each; NaN is left out.
        quantity: ``"gap"``, ``"radius"`` or ``"volume"``.
        standard_errors: Of the values, drawn as bars.
        label: What the networks have in common, in a legend.
        color: Of points and line.

    Raises:
        InvalidInputError: No such quantity, or a factor that is negative or not finite.

    Source: Huang et al. 2019 (arXiv 1906.03291), generalization gap against poison factor.
    """
    if quantity not in LABELS:
        raise InvalidInputError(f"quantity must be one of {', '.join(LABELS)}, got {quantity!r}.")
    if len(bad := factors[~((factors >= 0) & (factors < np.inf))]):
        raise InvalidInputError(f"poison factors must be 0 or more and finite, got {bad[0]:g}.")
    is_known = np.isfinite(values)
    factors, values = factors[is_known], values[is_known]
    bars = None if standard_errors is None else standard_errors[is_known]
    ax.errorbar(factors, values, bars, fmt="o", markersize=4, color=color, alpha=0.6, elinewidth=1, capsize=2)
    levels = np.unique(factors)
    ax.plot(levels, [values[factors == level].mean() for level in levels], color=color, label=label or None)
    smallest = factors[factors > 0].min(initial=np.inf)
    name = "poison factor β"
    if np.isfinite(smallest):
        ax.set_xscale("symlog", linthresh=smallest, linscale=0.5)
        set_log_ticks(ax.xaxis, smallest, levels[-1], also=(0.0,))
        if 0 in levels:
            ax.axvline(smallest, color="grey", linewidth=0.8, linestyle=":")
            name += f" (log scale; linear below {smallest:.2g})"
    ax.set_xlabel(name)
    ax.set_ylabel(LABELS[quantity])
    return ax
