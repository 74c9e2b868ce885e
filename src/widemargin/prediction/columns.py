"""Columns of anybody's table: found by name or pattern, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.prediction.grid import Grid, grid_of

__all__ = [
    "FEWEST_NETWORKS",
    "Compared",
    "compared",
    "configuring",
    "finite_gaps",
    "matching",
    "numbers",
    "test_sizes",
]

Doubles = NDArray[np.float64]

HYPERPARAMETERS = "hp.*"
FEWEST_NETWORKS = 3


@dataclass(frozen=True, eq=False)
class Compared:
    """The networks that a measure can be compared on.

    Attributes:
        table: Their rows.
        measure: Its values, none missing; they may be infinite.
        gap: The gaps.
        grid: The hyperparameters.
    """

    table: pd.DataFrame
    measure: Doubles
    gap: Doubles
    grid: Grid


def compared(table: pd.DataFrame, measure: str, gap: str, hyperparameters: Sequence[str] | None) -> Compared:
    """Return the networks with a finite gap and a value of the measure.

    Raises:
        InvalidInputError: A column that is not there or holds no numbers, or fewer than three networks.
    """
    columns = [str(column) for column in table.columns]
    if measure not in columns:
        raise InvalidInputError(
            f"the measure must be one of the table's columns, got {measure!r}. {_close(measure, columns)}"
        )
    if not pd.api.types.is_numeric_dtype(table[measure]):
        raise InvalidInputError(
            f"a measure must be numbers, but column {measure!r} holds type {table[measure].dtype}."
        )
    kept = table[finite_gaps(table, gap) & ~np.isnan(numbers(table, measure))]
    if len(kept) < FEWEST_NETWORKS:
        raise InvalidInputError(
            f"scores need at least {FEWEST_NETWORKS} networks with a finite gap and a value of {measure!r}, got "
            f"{len(kept)} of {len(table)}."
        )
    grid = grid_of(kept, configuring(hyperparameters, columns))
    return Compared(kept, numbers(kept, measure), numbers(kept, gap), grid)


def matching(patterns: Sequence[str], columns: Sequence[str], *, is_needed: bool = True) -> list[str]:
    """Return the columns that match any pattern, in their order.

    Raises:
        InvalidInputError: A pattern that is needed and matches none.
    """
    for pattern in patterns if is_needed else ():
        if not any(column == pattern or fnmatchcase(column, pattern) for column in columns):
            raise InvalidInputError(
                f"{pattern!r} must name one of the table's columns or match some, and does not. "
                f"{_close(pattern, columns)}"
            )
    return [
        column for column in columns if any(column == pattern or fnmatchcase(column, pattern) for pattern in patterns)
    ]


def configuring(hyperparameters: Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """Return the columns of the hyperparameters: those that match, or ``hp.*`` where nobody chose.

    Raises:
        InvalidInputError: A chosen pattern that matches none.
    """
    return matching(hyperparameters or [HYPERPARAMETERS], columns, is_needed=hyperparameters is not None)


def finite_gaps(table: pd.DataFrame, gap: str) -> NDArray[np.bool_]:
    """Return which networks have a finite gap.

    Raises:
        InvalidInputError: No such column, one that holds no numbers, or fewer than three finite gaps.
    """
    columns = [str(column) for column in table.columns]
    if gap not in columns:
        raise InvalidInputError(f"the gap's column must be one of the table's, got {gap!r}. {_close(gap, columns)}")
    if not pd.api.types.is_numeric_dtype(table[gap]):
        raise InvalidInputError(f"the gap must be numbers, but column {gap!r} holds type {table[gap].dtype}.")
    has_gap = np.isfinite(numbers(table, gap))
    if has_gap.sum() < FEWEST_NETWORKS:
        raise InvalidInputError(
            f"scores need at least {FEWEST_NETWORKS} networks with a finite gap, got {has_gap.sum()} of {len(table)}."
        )
    return has_gap


def numbers(table: pd.DataFrame, name: str) -> Doubles:
    """Return a column as doubles, NaN where it is missing."""
    return table[name].to_numpy(dtype=np.float64, na_value=np.nan)


def test_sizes(table: pd.DataFrame, num_test: int | None) -> Doubles:
    """Return how many test examples stand behind each gap: infinitely many where nobody says.

    Args:
        table: A row a network; ``num_test`` may be a column.
        num_test: For all networks alike; default: the column.

    Raises:
        InvalidInputError: Fewer than one.
    """
    if num_test is not None and num_test < 1:
        raise InvalidInputError(f"the number of test examples must be at least 1, got {num_test}.")
    if num_test is None and "num_test" in table:
        return np.asarray(table["num_test"].to_numpy(dtype=np.float64, na_value=np.inf))
    return np.full(len(table), np.inf if num_test is None else float(num_test))


def _close(name: str, columns: Sequence[str]) -> str:
    close = get_close_matches(name, columns, cutoff=0.5) or list(columns[:5])
    return f"Columns like it: {', '.join(close)}." if close else "The table has no columns."
