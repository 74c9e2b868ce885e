"""What the report's figures share: axes, points, and numbers as the page's JSON takes them."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widemargin.figures.scales import round_values

__all__ = ["LEGEND", "SEE_THROUGH", "STEP", "Figure", "layout_of", "log_ticks", "numbers", "scatter", "tick_text"]

Figure: TypeAlias = dict[str, Any]

STEP = "[filter norms]"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
"""Above the axes, from the left."""

SEE_THROUGH = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
"""The page's own color is behind every figure."""


def numbers(values: ArrayLike, digits: int = 4) -> list[Any]:
    """Return numbers to so many digits for the page's JSON; None for what is not finite."""
    plain = np.asarray(values, dtype=np.float64).ravel().tolist()
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in plain]


def scatter(x: list[Any], y: list[Any], name: str, **options: Any) -> dict[str, Any]:
    """Return a trace of points or lines."""
    return {"type": "scatter", "x": x, "y": y, "name": name, **options}


def layout_of(height: int, x: str, y: str, *, has_legend: bool = True, **options: Any) -> Figure:
    """Return a layout with named axes, without the template that would bake a theme in."""
    return {
        "height": height,
        "margin": {"l": 60, "r": 12, "t": 40 if has_legend else 8, "b": 50},
        **SEE_THROUGH,
        "showlegend": has_legend,
        "hovermode": "closest",
        "legend": dict(LEGEND),
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y, "standoff": 8}},
        **options,
    }


def log_ticks(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return round ticks on a logarithmic axis."""
    known = values[np.isfinite(values) & (values > 0)]
    ticks = round_values(float(known.min()), float(known.max())) if len(known) else [1.0]
    return {"tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks]}


def tick_text(value: float) -> str:
    """Return a number for an axis; powers of ten that would be long as such.

    Example:
        >>> tick_text(0.02), tick_text(1e-9), tick_text(1e6), tick_text(0.00008)
        ('0.02', '10⁻⁹', '10⁶', '0.00008')
    """
    power = math.log10(value) if value > 0 else 0.0
    if abs(power) > 4 and power.is_integer():
        return "10" + str(int(power)).translate(SUPERSCRIPTS)
    return np.format_float_positional(float(f"{value:.4g}"), trim="-")
