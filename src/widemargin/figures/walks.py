"""Pictures of a walk through a minimum: loss, accuracy and curvature against the step."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.figures.colors import BADLY, CLASSES
from widemargin.figures.scales import set_log_ticks, step_label, step_unit
from widemargin.landscape.walk import Walk

__all__ = ["WalkQuantity", "draw_walk", "mark_step", "walk_values"]

Doubles = NDArray[np.float64]
WalkQuantity: TypeAlias = Literal["loss", "accuracy", "curvature"]

LABELS: Mapping[str, str] = {
    "loss": "{split} loss",
    "accuracy": "{split} accuracy\n[%]",
    "curvature": "curvature\n[per {unit}²]",
}


def walk_values(walk: Walk, quantity: WalkQuantity) -> Float[Doubles, " points"]:
    """Return loss, accuracy [%] or curvature at each point of the walk.

    Raises:
        InvalidInputError: No such quantity, or a curvature that was not computed.
    """
    if quantity not in LABELS:
        raise InvalidInputError(f"quantity must be one of {', '.join(LABELS)}, got {quantity!r}.")
    values = {"loss": walk.losses, "accuracy": 100 * walk.accuracies, "curvature": walk.curvatures}[quantity]
    if values is None:
        raise InvalidInputError("the walk has no curvature. Take it with loss_along(…, curvature=True).")
    return values


def draw_walk(
    ax: Axes, walk: Walk, *, quantity: WalkQuantity = "loss", label: str = "", color: str = CLASSES[0]
) -> Axes:
    """Draw loss, accuracy or curvature against the step c; return the axes.

    Loss and curvature get a logarithmic axis where all of them are positive. What is not finite leaves a gap.

    Args:
        ax: Where to draw.
        walk: As :func:`~widemargin.landscape.walk.loss_along` makes it, its points in any order.
        quantity: ``"loss"``, ``"accuracy"`` or ``"curvature"``.
        label: The network's name in a legend.
        color: Of the line.

    Raises:
        InvalidInputError: No such quantity, or a curvature that was not computed.

    Source: the perturbation animation of Huang et al. 2019 (arXiv 1906.03291).
    """
    values = walk_values(walk, quantity)
    steps, where = np.unique(walk.coefficients, return_index=True)
    shown = np.where(np.isfinite(values[where]), values[where], np.nan)
    ax.plot(steps, shown, color=color, label=label or None)
    ax.axvline(0.0, color="grey", linewidth=0.8, linestyle="--")
    if quantity == "accuracy":
        ax.set_ylim(-4, 104)
    elif np.isfinite(shown).any() and np.nanmin(shown) > 0:
        ax.set_yscale("log")
        set_log_ticks(ax.yaxis, *ax.get_ylim())
    ax.set_xlabel(step_label("step c", walk.normalization))
    ax.set_ylabel(LABELS[quantity].format(split=walk.split, unit=step_unit(walk.normalization)))
    return ax


def mark_step(ax: Axes, walk: Walk, index: int, *, quantity: WalkQuantity = "loss") -> Line2D:
    """Put a dot on a drawn walk and return it, to be moved by ``set_data``.

    Args:
        ax: Where the walk was drawn.
        walk: The walk.
        index: At which of its points the dot stands; one that is not finite has no dot.
        quantity: What was drawn.

    Raises:
        InvalidInputError: No such quantity, or a curvature that was not computed.
    """
    at = walk.coefficients[index], walk_values(walk, quantity)[index]
    (dot,) = ax.plot(
        [at[0]], [at[1]], marker="o", markersize=8, color=BADLY, markeredgecolor="black", linestyle="none", zorder=5
    )
    return dot
