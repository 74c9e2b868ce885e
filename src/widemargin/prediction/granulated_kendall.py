"""Kendall's τ one hyperparameter at a time: whether a measure follows the gap where only that one changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.prediction.columns import compared
from widemargin.prediction.correlations import Correlation
from widemargin.prediction.grid import Grid, signs_of_differences
from widemargin.prediction.intervals import Interval, Resamples, ratio, resamples_of

__all__ = ["GranulatedKendall", "granulated_kendall", "granulated_kendalls"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GranulatedKendall:
    """Kendall's τ one hyperparameter at a time; None where no two networks differ in one hyperparameter alone.

    Attributes:
        value: Ψ, the mean of the hyperparameters' ψ, from −1 to 1.
        interval: At 95 %, over configurations; None for fewer than ten of them.
        per_hyperparameter: ψ of each hyperparameter that ever changes alone.
    """

    value: float | None = None
    interval: Interval | None = None
    per_hyperparameter: Mapping[str, Correlation] = field(default_factory=dict)


def granulated_kendall(
    table: pd.DataFrame,
    measure: str,
    *,
    gap: str = "gap",
    hyperparameters: Sequence[str] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> GranulatedKendall:
    """Return the granulated Kendall coefficient of a measure: positive where it rises with the gap.

    For each hyperparameter, networks that are alike in all others make a cell. τ of a cell is the mean of
    sgn(Δmeasure)·sgn(Δgap) over its pairs of networks that differ in the hyperparameter, where ties count 0; ψ is the
    mean of τ over the cells, Ψ the mean of ψ over the hyperparameters. A cell without such a pair is left out, which
    is all that an incomplete grid changes; repeats of one configuration are not compared with each other.

    Args:
        table: One row a network; those without a finite gap or with a missing measure are left out.
        measure: Its column; infinities are its greatest and least values.
        gap: Column of the generalization gap.
        hyperparameters: Columns or glob patterns; default: ``hp.*``. Seeds tell no networks apart.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: A column that is not there or holds no numbers, or fewer than three networks.

    Source: Jiang et al. 2020, Fantastic Generalization Measures (arXiv 1912.02178), section 3.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"hp.lr": [1, 1, 2, 2], "hp.depth": [1, 2, 1, 2], "gap": [0.1, 0.2, 0.3, 0.4]})
        >>> found = granulated_kendall(table.assign(norm=[1.0, 2.0, 0.5, 3.0]), "norm")
        >>> found.value, {name: tau.value for name, tau in found.per_hyperparameter.items()}
        (0.5, {'hp.lr': 0.0, 'hp.depth': 1.0})
    """
    networks = compared(table, measure, gap, hyperparameters)
    resamples = resamples_of(networks.grid.which, num_resamples=num_resamples, seed=seed)
    return granulated_kendalls(networks.measure[None], networks.gap, networks.grid, resamples)[0]


def granulated_kendalls(
    measures: Float[Doubles, "measures networks"], gap: Float[Doubles, " networks"], grid: Grid, resamples: Resamples
) -> list[GranulatedKendall]:
    """Return the granulated Kendall coefficient of each measure.

    Args:
        measures: One value a network, none missing.
        gap: The gaps.
        grid: The networks' hyperparameters.
        resamples: Draws of the grid's configurations.
    """
    num_pairs = grid.between(np.ones((len(gap), len(gap))))
    gap_signs = signs_of_differences(gap)
    counts = resamples.all_and_drawn
    agreeing = [grid.between(signs_of_differences(measure) * gap_signs) for measure in measures]
    psi: dict[str, list[Doubles]] = {}
    for neighbors in grid.neighbors():
        order = np.argsort(neighbors.cell, kind="stable")
        first, second = neighbors.first[order], neighbors.second[order]
        starts = np.flatnonzero(np.diff(neighbors.cell[order], prepend=-1))
        drawn = counts[:, first] * counts[:, second]
        num = np.add.reduceat(drawn * num_pairs[first, second], starts, axis=1)
        psi[neighbors.hyperparameter] = [
            _mean_of_existing(
                ratio(np.add.reduceat(drawn * pairs[first, second], starts, axis=1), num),
            )
            for pairs in agreeing
        ]
    found = []
    for index in range(len(measures)):
        scores = {name: of_measures[index] for name, of_measures in psi.items()}
        mean = _mean_of_existing(np.stack([*scores.values()], axis=1)) if scores else np.full(len(counts), np.nan)
        each = {name: Correlation(*resamples.value_and_interval(drawn)) for name, drawn in scores.items()}
        found.append(GranulatedKendall(*resamples.value_and_interval(mean), each))
    return found


def _mean_of_existing(scores: Float[Doubles, "resamples scores"]) -> Float[Doubles, " resamples"]:
    exists = np.isfinite(scores)
    return ratio(np.where(exists, scores, 0).sum(axis=1), exists.sum(axis=1).astype(np.float64))
