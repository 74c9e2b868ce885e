"""Which networks share which hyperparameters, and what differs between two of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray

__all__ = ["Grid", "Neighbors", "grid_of", "signs_of_differences"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Pairs of configurations that differ in one hyperparameter and in nothing else.

    Attributes:
        hyperparameter: The one they differ in.
        first: Configurations with the lesser of the two values.
        second: Those that they are paired with.
        cell: Number of what they share: all other hyperparameters.
    """

    hyperparameter: str
    first: Int[Integers, " pairs"]
    second: Int[Integers, " pairs"]
    cell: Int[Integers, " pairs"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Networks by the values of their hyperparameters; complete or not, with repeats or without.

    Attributes:
        names: Of the hyperparameters, constant ones too, seeds not.
        values: Of each hyperparameter, in words, in their order.
        which: Number of each network's configuration.
        codes: Of each configuration: the numbers of its values.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    which: Int[Integers, " networks"]
    codes: Int[Integers, "configurations hyperparameters"]

    def of(self, known: Bool[NDArray[np.bool_], " networks"]) -> "Grid":
        """Return the grid of some of the networks."""
        kept, which = np.unique(self.which[known], return_inverse=True)
        return replace(self, which=which, codes=self.codes[kept])

    def neighbors(self) -> Iterator[Neighbors]:
        """Return the pairs that differ in one hyperparameter, for each that has such pairs."""
        for position, name in enumerate(self.names):
            others = np.delete(self.codes, position, axis=1)
            cell: Integers = np.unique(others, axis=0, return_inverse=True)[1].reshape(-1)
            first, second = np.nonzero(np.triu(cell[:, None] == cell, 1))
            if len(first):
                yield Neighbors(name, first, second, cell[first])

    def between(
        self, values: Shaped[NDArray[np.generic], "networks networks"]
    ) -> Float[NDArray[np.float64], "configurations configurations"]:
        """Return the sums over pairs of networks for every pair of their configurations."""
        order = np.argsort(self.which, kind="stable")
        starts = np.searchsorted(self.which[order], np.arange(len(self.codes)))
        rows = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
        return np.asarray(np.add.reduceat(rows[:, order], starts, axis=1))

    def difference(self, hyperparameter: str, first: int, second: int) -> str:
        """Return in words in what two configurations differ, and what else they share of what varies at all."""
        position = self.names.index(hyperparameter)
        before, after = (self.values[position][self.codes[pair, position]] for pair in (first, second))
        shared = [
            f"{name} {self.values[place][self.codes[first, place]]}"
            for place, name in enumerate(self.names)
            if place != position and np.ptp(self.codes[:, place])
        ]
        return f"{hyperparameter} {before} → {after}" + (f" at {', '.join(shared)}" if shared else "")


def grid_of(table: pd.DataFrame, hyperparameters: Sequence[str]) -> Grid:
    """Return how the networks of a table lie in the grid of their hyperparameters.

    A hyperparameter whose name ends in ``seed`` tells no networks apart; a missing value is a value of its own.
    Without hyperparameters, every network is a configuration.

    Args:
        table: One row a network.
        hyperparameters: Columns.

    Example:
        >>> grid = grid_of(pd.DataFrame({"lr": [0.1, 0.2, 0.1], "seed": [0, 1, 2]}), ["lr", "seed"])
        >>> grid.which.tolist(), [grid.difference("lr", 0, 1)]
        ([0, 1, 0], ['lr 0.1 → 0.2'])
    """
    names = tuple(name for name in hyperparameters if name.rpartition(".")[2] != "seed")
    if not names:
        return Grid((), (), np.arange(len(table)), np.zeros((len(table), 0), dtype=np.int64))
    numbers: Integers = np.column_stack([table.groupby(name, dropna=False).ngroup() for name in names])
    codes, which = np.unique(numbers, axis=0, return_inverse=True)
    values = tuple(_in_words(table[name], column) for name, column in zip(names, numbers.T, strict=True))
    return Grid(names, values, which.astype(np.int64).reshape(-1), codes)


def signs_of_differences(
    values: Float[NDArray[np.float64], " networks"],
) -> Float[NDArray[np.float64], "networks networks"]:
    """Return the sign of every network's value less every other's; two equal infinities do not differ."""
    return np.greater.outer(values, values).astype(np.float64) - np.less.outer(values, values)


def _in_words(column: "pd.Series[Any]", numbers: Int[Integers, " networks"]) -> tuple[str, ...]:
    firsts = np.unique(numbers, return_index=True)[1]
    return tuple("none" if pd.isna(value) else str(value) for value in column.iloc[firsts])
