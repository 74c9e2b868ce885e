"""What a measure tells of the order of two gaps that the hyperparameters do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import csr_array

from widemargin.prediction.columns import compared
from widemargin.prediction.grid import Grid
from widemargin.prediction.intervals import Interval, Resamples, ratio, resamples_of

__all__ = ["ConditionalMutualInformation", "conditional_mutual_information", "conditional_mutual_informations"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

PAIRS_AT_ONCE = 2**23


@dataclass(frozen=True, slots=True)
class ConditionalMutualInformation:
    """What a measure tells of the order of two gaps once two hyperparameters are known; None where nothing varies.

    Attributes:
        value: Share of what there is to know [percent], from 0 to 100.
        interval: At 95 %, over configurations; None for fewer than ten of them.
        hyperparameters: Those that leave the measure the least to tell, as far as they vary.
    """

    value: float | None = None
    interval: Interval | None = None
    hyperparameters: tuple[str, ...] = ()


def conditional_mutual_information(
    table: pd.DataFrame,
    measure: str,
    *,
    gap: str = "gap",
    hyperparameters: Sequence[str] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> ConditionalMutualInformation:
    """Return the score of a measure in the competition Predicting Generalization in Deep Learning.

    For ordered pairs of networks, each with itself included, V says whether the first has the greater measure (or
    gap), strictly. The values that two hyperparameters have in the first and in the second network make a cell. The
    score is the mean of I(V_measure; V_gap) over the cells by that of the entropy H(V_gap), at the two
    hyperparameters for which that is least: 100 for a measure that orders all gaps, 0 for one that says nothing
    within the cells of some two. A measure and its negative tell the same but for ties, to which every network
    with itself belongs: hand over the one that should rise with the gap.

    A hyperparameter that is the same for all networks counts: with it, the other one stands alone. Cells
    without networks are left out, which is all that an incomplete grid changes; where there is one
    hyperparameter only, it is taken alone.

    Cells of few networks tell much by chance, so noise does not score 0: compare measures on the same networks only.
    Resamples, of fewer different configurations, score higher still: copies of a configuration are not compared
    with each other, and the interval is that of the resamples moved so that their median is the score.

    Args:
        table: One row a network; those without a finite gap or with a missing measure are left out.
        measure: Its column; infinities are its greatest and least values.
        gap: Column of the generalization gap.
        hyperparameters: Columns or glob patterns; default: ``hp.*``. Seeds tell no networks apart.
        num_resamples: How often configurations are drawn for the interval.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: A column that is not there or holds no numbers, or fewer than three networks.

    Source: Jiang et al. 2020, NeurIPS Competition: Predicting Generalization in Deep Learning (arXiv 2012.07976); the
    definition by its scoring program.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"hp.lr": [1, 1, 1, 2, 2, 2], "hp.depth": [1, 1, 1, 1, 1, 1]})
        >>> table = table.assign(gap=[0.1, 0.2, 0.3, 0.3, 0.4, 0.5], norm=[1, 2, 3, 3, 4, 5], same=table["hp.lr"])
        >>> [round(conditional_mutual_information(table, name).value, 6) for name in ("norm", "same")]
        [100.0, 0.0]
    """
    networks = compared(table, measure, gap, hyperparameters)
    resamples = resamples_of(networks.grid.which, num_resamples=num_resamples, seed=seed)
    return conditional_mutual_informations(networks.measure[None], networks.gap, networks.grid, resamples)[0]


def conditional_mutual_informations(
    measures: Float[Doubles, "measures networks"], gap: Float[Doubles, " networks"], grid: Grid, resamples: Resamples
) -> list[ConditionalMutualInformation]:
    """Return the score of each measure.

    Args:
        measures: One value a network, none missing.
        gap: The gaps.
        grid: The networks' hyperparameters.
        resamples: Draws of the grid's configurations.
    """
    conditions = _conditions(grid)
    if not conditions:
        return [ConditionalMutualInformation() for _ in measures]
    cells, starts = _cells([groups for _, groups in conditions])
    greater_gap = np.greater.outer(gap, gap)
    all_pairs, gap_pairs = grid.between(np.ones_like(greater_gap)), grid.between(greater_gap)
    measure_pairs = []
    for measure in measures:
        greater = np.greater.outer(measure, measure)
        measure_pairs.append((grid.between(greater), grid.between(greater & greater_gap)))
    shares: list[list[Doubles]] = [[] for _ in measures]
    for drawn in _drawn_pairs(resamples):
        num, num_gap = (_in_cells(cells, pairs, drawn) for pairs in (all_pairs, gap_pairs))
        entropy = _log_sum(num) - _log_sum(num_gap) - _log_sum(num - num_gap)
        uncertain = np.add.reduceat(entropy / np.maximum(num, 1), starts)
        for pairs_of_measure, found in zip(measure_pairs, shares, strict=True):
            num_measure, num_both = (_in_cells(cells, pairs, drawn) for pairs in pairs_of_measure)
            four = (num_both, num_measure - num_both, num_gap - num_both, num - num_measure - num_gap + num_both)
            told = sum(map(_log_sum, four)) - _log_sum(num_measure) - _log_sum(num - num_measure) + entropy
            found.append(ratio(np.add.reduceat(told / np.maximum(num, 1), starts), uncertain))
    names = [names for names, _ in conditions]
    return [_least(np.hstack(of_measure), names, resamples) for of_measure in shares]


def _conditions(grid: Grid) -> list[tuple[tuple[str, ...], Int[Integers, " configurations"]]]:
    """Return each pair of hyperparameters with the group of every configuration; those that group alike once."""
    places = range(len(grid.names))
    found: dict[bytes, tuple[tuple[str, ...], Int[Integers, " configurations"]]] = {}
    for pair in combinations(places, min(2, len(places))) if places else ():
        groups = np.unique(grid.codes[:, pair], axis=0, return_inverse=True)[1].reshape(-1)
        names = tuple(grid.names[place] for place in pair if np.ptp(grid.codes[:, place]))
        found.setdefault(groups.tobytes(), (names, groups))
    return list(found.values())


def _cells(conditions: Sequence[Int[Integers, " configurations"]]) -> tuple[csr_array, Int[Integers, " conditions"]]:
    """Return which pairs of configurations are in which cell, for all conditions, and where each condition starts."""
    num_cells = [(groups.max() + 1) ** 2 for groups in conditions]
    starts = np.cumsum([0, *num_cells])
    rows = [
        start + np.add.outer(groups * (groups.max() + 1), groups).ravel()
        for start, groups in zip(starts[:-1], conditions, strict=True)
    ]
    num_pairs = len(conditions[0]) ** 2
    columns = np.tile(np.arange(num_pairs), len(conditions))
    ones = np.ones(len(columns))
    return csr_array((ones, (np.concatenate(rows), columns)), shape=(starts[-1], num_pairs)), starts[:-1]


def _drawn_pairs(resamples: Resamples) -> Iterator[Float[NDArray[np.float32], "pairs some_resamples"]]:
    """Return how often each pair of configurations is in a resample, some resamples at a time.

    Copies of a configuration are not compared with each other: they would be ties that no networks have.
    """
    counts = np.ascontiguousarray(resamples.all_and_drawn.T, dtype=np.float32)  # exact up to 2^24 pairs a cell
    num = len(counts)
    for some in np.array_split(counts, max(1, counts.size * num // PAIRS_AT_ONCE), axis=1):
        drawn = np.ascontiguousarray(some[:, None] * some)
        drawn[np.arange(num), np.arange(num)] = some
        yield drawn.reshape(num**2, -1)


def _in_cells(
    cells: csr_array,
    pairs: Float[Doubles, "configurations configurations"],
    drawn: Float[NDArray[np.float32], "pairs some_resamples"],
) -> Float[Doubles, "cells some_resamples"]:
    """Return the number of pairs of networks in each cell of each resample."""
    counted = csr_array(
        (pairs.ravel()[cells.indices].astype(np.float32), cells.indices, cells.indptr), shape=cells.shape
    )
    return np.asarray(counted @ drawn, dtype=np.float64)


def _log_sum(num: Doubles) -> Doubles:
    """Return n·log n of whole numbers, 0 for none."""
    return np.asarray(num * np.log(np.maximum(num, 1)))


def _least(
    shares: Float[Doubles, "conditions resamples"], names: Sequence[tuple[str, ...]], resamples: Resamples
) -> ConditionalMutualInformation:
    shares = np.where(np.isfinite(shares), shares, np.inf)
    value, drawn = 100 * float(shares[:, 0].min()), 100 * shares[:, 1:].min(axis=0)
    drawn = drawn[np.isfinite(drawn)]
    if not (np.isfinite(value) and len(drawn)):
        return ConditionalMutualInformation()
    interval = resamples.interval(np.clip(drawn - np.median(drawn) + value, 0, 100))
    return ConditionalMutualInformation(max(value, 0.0), interval, names[int(shares[:, 0].argmin())])  # rounding
