"""Picture of how the gap goes with each hyperparameter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray

from widemargin.figures.colors import WELL

__all__ = ["GapsByValue", "draw_gaps_by_value", "gaps_by_hyperparameter"]

Doubles = NDArray[np.float64]
SPREAD, GOLDEN = 0.3, 0.6180339887


@dataclass(frozen=True, eq=False)
class GapsByValue:
    """Gaps of the networks that share one value of a hyperparameter, for each value.

    Attributes:
        hyperparameter: Its name, as a study spells it.
        values: Its values as words, numbers in their order.
        gaps: Sorted gaps of the networks with each value.
    """

    hyperparameter: str
    values: tuple[str, ...]
    gaps: tuple[Float[Doubles, " _"], ...]


def gaps_by_hyperparameter(table: pd.DataFrame, columns: Sequence[str]) -> list[GapsByValue]:
    """Return the gaps by value of each hyperparameter.

    Args:
        table: As :func:`widemargin.zoo.zoo_table` makes it; rows whose ``why_left_out`` is not empty are left out.
        columns: Columns of hyperparameters.
    """
    usable = table[table["why_left_out"] == ""]
    found = []
    for column in columns:
        groups = {value: part.to_numpy(np.float64) for value, part in usable.groupby(column, dropna=False)["gap"]}
        words = tuple("none" if pd.isna(value) else str(value) for value in groups)
        found.append(GapsByValue(column.removeprefix("hp."), words, tuple(map(np.sort, groups.values()))))
    return found


def draw_gaps_by_value(ax: Axes, gaps: GapsByValue) -> Axes:
    """Draw a point a network above the value that it has, and a bar at each median; return the axes."""
    for place, values in enumerate(gaps.gaps):
        beside = SPREAD * (2 * (GOLDEN * np.arange(len(values)) % 1) - 1)  # evenly, without chance
        ax.scatter(place + beside, values, s=9, alpha=0.6, color=WELL, linewidths=0)
        ax.hlines(np.median(values), place - SPREAD, place + SPREAD, color="black", linewidth=1.5)
    ax.set_xticks(range(len(gaps.values)), list(gaps.values))
    ax.set_xlim(-0.6, len(gaps.values) - 0.4)
    ax.set_xlabel(gaps.hyperparameter)
    ax.set_ylabel("gap (train − test accuracy)")
    return ax
