"""Which networks a score is taken over: all, those that learned, those that fit, those alike in training accuracy."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd

__all__ = ["SUBSETS", "has_learned", "nearly_equal_accuracy", "subsets_of"]

Chosen: TypeAlias = "pd.Series[bool]"

WELL_FITTED = 0.99
STANDARD_ERRORS = 3.0
LOSS_SHARE = 0.99
BAND_SHARE = 1 / 3


def has_learned(table: pd.DataFrame) -> Chosen:
    """Return which networks are better than chance on their own training data.

    Untrained is a network whose training accuracy is within three standard errors of chance, 1/K ± 3·√(p(1 − p)/n)
    with K classes and n training examples, or whose mean training loss is not below .99·log K. Such networks sit at
    gap 0 and flatter every score. Where the table has no number of classes, every network counts as trained.

    Args:
        table: One row a network with ``train_accuracy``, ``train_loss``, ``num_train`` and ``num_classes``.
    """
    if "num_classes" not in table:
        return pd.Series(True, index=table.index)
    chance = 1 / table["num_classes"]
    error = np.sqrt(chance * (1 - chance) / table["num_train"])
    at_chance = table["train_accuracy"] <= chance + STANDARD_ERRORS * error
    learns_nothing: Chosen = at_chance | (table["train_loss"] >= LOSS_SHARE * np.log(table["num_classes"]))
    return ~learns_nothing


def nearly_equal_accuracy(table: pd.DataFrame) -> Chosen:
    """Return a third or more of the networks that learned: those in the narrowest band of training accuracy.

    Networks at the very ends of the band all belong to it, so that where many fit perfectly, all of these do.

    Args:
        table: As for :func:`has_learned`.
    """
    accuracy = table["train_accuracy"].astype(np.float64)
    ordered = np.sort(accuracy[has_learned(table)].to_numpy())
    if not len(ordered):
        return pd.Series(False, index=table.index)
    num = int(np.ceil(BAND_SHARE * len(ordered)))
    first = int(np.argmin(ordered[num - 1 :] - ordered[: len(ordered) - num + 1]))
    return has_learned(table) & accuracy.between(ordered[first], ordered[first + num - 1])


SUBSETS: Mapping[str, Callable[[pd.DataFrame], Chosen]] = {
    "all": lambda table: pd.Series(True, index=table.index),
    "train accuracy above chance": has_learned,
    "train accuracy ≥ 0.99": lambda table: table["train_accuracy"] >= WELL_FITTED,
    "nearly equal train accuracy": nearly_equal_accuracy,
}
"""Subsets of networks by name."""


def subsets_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the networks of each subset; one that has the same networks as an earlier one is left out.

    Args:
        table: As for :func:`has_learned`.
    """
    chosen = {name: table[choose(table)] for name, choose in SUBSETS.items()}
    seen: dict[tuple[object, ...], str] = {}
    for name, networks in chosen.items():
        seen.setdefault(tuple(networks.index), name)
    return {name: chosen[name] for name in seen.values()}
