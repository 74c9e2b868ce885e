"""What axes share: words for the units of steps, and round ticks on logarithms."""

from collections.abc import Mapping

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

__all__ = ["round_values", "set_log_ticks", "step_label", "step_unit"]

UNITS: Mapping[str, str] = {
    "filter": "filter norm",
    "layer": "layer norm",
    "none": "parameter unit",
    "given": "length of the direction",
}


def step_unit(normalization: str) -> str:
    """Return what a step of 1 along a direction is."""
    return UNITS[normalization]


def step_label(name: str, normalization: str) -> str:
    """Return the label of an axis that counts steps."""
    return f"{name} [{step_unit(normalization)}]"


def round_values(low: float, high: float) -> list[float]:
    """Return a few round values between two positive ones, powers of ten if they are far apart; else the two.

    Example:
        >>> round_values(0.02, 3000.0), round_values(0.15, 2.5), round_values(7.0, 7.0)
        ([0.1, 1.0, 10.0, 100.0, 1000.0], [0.2, 0.5, 1.0, 2.0], [7.0])
    """
    subs = (1.0,) if high >= 300 * low else (1.0, 2.0, 5.0)
    values = LogLocator(subs=subs, numticks=8).tick_values(low, high)
    inside = [float(value) for value in values if low <= value <= high]
    return inside if len(inside) > 1 else sorted({low, high})


def set_log_ticks(axis: Axis, low: float, high: float, *, also: tuple[float, ...] = ()) -> None:
    """Put plain numbers at the round values of a logarithmic axis.

    Args:
        axis: An axis that is logarithmic already.
        low: The smallest value shown.
        high: The largest.
        also: Other places to mark.
    """
    axis.set_major_locator(FixedLocator([*also, *round_values(low, high)]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
