"""How often chance alone would do as well as a measure, for one measure and for many tested together."""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError

__all__ = ["benjamini_hochberg", "holm", "permutation_p_values"]

Doubles = NDArray[np.float64]


def permutation_p_values(
    measures: Float[Doubles, "measures networks"],
    gap: Float[Doubles, " networks"],
    configurations: Int[NDArray[np.int64], " networks"],
    *,
    num_permutations: int = 9999,
    seed: int = 0,
) -> Float[Doubles, " measures"]:
    """Return how probable a |τ| as large as each measure's would be if measures and gaps had nothing to do together.

    The gaps are permuted over configurations, those of repeats together: (1 + number of permutations with as large
    a |τ|)/(1 + number of permutations). All measures meet the same permutations. Only configurations with equally
    many networks change places, so that one with a number of its own keeps its gaps. τ counts concordant
    less discordant pairs; where a measure is missing, there are none.

    A small p-value says that there is some connection: it may run through the hyperparameters, which move both.

    Args:
        measures: One value a network; NaN where it is missing, infinities are greatest and least.
        gap: The gaps.
        configurations: The same number for repeats of one configuration.
        num_permutations: How often to permute; p is never below 1/(1 + their number).
        seed: Seed of the permutations.

    Raises:
        InvalidInputError: Fewer than one permutation.

    Source: Phipson and Smyth 2010, Permutation P-values Should Never Be Zero (arXiv 1603.05766), section 3;
    whole configurations as in Winkler et al. 2014, Permutation Inference for the General Linear Model, section 2.

    Example:
        >>> values = np.arange(5.0)
        >>> p_values = permutation_p_values(np.stack([values, values % 2]), values, np.arange(5))
        >>> bool(p_values[0] < 0.05 < p_values[1])
        True
    """
    if num_permutations < 1:
        raise InvalidInputError(f"the number of permutations must be at least 1, got {num_permutations}.")
    orders = _orders(configurations, num_permutations, np.random.default_rng(seed))
    levels = np.unique(gap, return_inverse=True)[1].astype(np.float32)
    permuted = levels[np.vstack([np.arange(len(gap)), orders])]
    agreeing = np.zeros((len(measures), len(permuted)), dtype=np.float32)
    for network in range(len(gap) - 1):
        this, others = measures[:, network, None], measures[:, network + 1 :]
        signs = (this > others).astype(np.float32) - (this < others)
        agreeing += signs @ np.sign(permuted[:, network, None] - permuted[:, network + 1 :]).T
    as_large = np.abs(agreeing[:, 1:]) >= np.abs(agreeing[:, :1])
    return np.asarray((1 + as_large.sum(axis=1)) / (1 + num_permutations))


def holm(p_values: Float[Doubles, " tests"]) -> Float[Doubles, " tests"]:
    """Return p-values that hold for all tests together: one below 5 % by chance alone in 5 % of such families.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, section 3.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def benjamini_hochberg(p_values: Float[Doubles, " tests"]) -> Float[Doubles, " tests"]:
    """Return the least share of false findings at which each test would be among those found.

    It holds for tests that are independent or rise and fall together, as measures of one kind do.

    Source: Benjamini and Hochberg 1995, Controlling the False Discovery Rate, section 3.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.04, 0.04]
    """
    order = np.argsort(p_values)[::-1]
    steps = p_values[order] * len(order) / np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(steps))
    return adjusted


def _orders(
    configurations: Int[NDArray[np.int64], " networks"], num: int, rng: np.random.Generator
) -> Int[NDArray[np.int64], "permutations networks"]:
    """Return which network's gap each network gets; whole configurations change places with others of their size."""
    orders = np.tile(np.arange(len(configurations)), (num, 1))
    sizes = np.bincount(configurations)
    for size in np.unique(sizes[sizes > 0]):
        members = np.stack([np.flatnonzero(configurations == which) for which in np.flatnonzero(sizes == size)])
        drawn = rng.permuted(np.tile(np.arange(len(members)), (num, 1)), axis=1)
        orders[:, members.ravel()] = members[drawn].reshape(num, -1)
    return orders
