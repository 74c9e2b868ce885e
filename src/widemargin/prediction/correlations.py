"""Correlations of a measure with the gap, of values and of ranks, with intervals over configurations."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from widemargin.prediction.intervals import Interval, Resamples, ratio

__all__ = ["Correlation", "kendall", "pearson", "spearman"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation; None where all values of one side are the same.

    Attributes:
        value: From −1 to 1.
        interval: At 95 %, over configurations; None for fewer than ten of them.
    """

    value: float | None
    interval: Interval | None


def pearson(
    measure: Float[Doubles, " networks"], gap: Float[Doubles, " networks"], resamples: Resamples
) -> Correlation:
    """Return Pearson's r, the correlation of the values themselves.

    Args:
        measure: One finite value a network, of any magnitude.
        gap: The gaps.
        resamples: Draws of configurations.

    Example:
        >>> import numpy as np
        >>> from widemargin.prediction import resamples_of
        >>> round(pearson(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.4]), resamples_of(range(3))).value, 3)
        1.0
    """
    x, y = (_scaled(values) for values in (measure, gap))
    products = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2])
    configurations = np.stack([np.bincount(resamples.which, weights=row) for row in products])
    num, x_sum, y_sum, xy_sum, xx_sum, yy_sum = configurations @ resamples.all_and_drawn.T
    variances = (xx_sum - x_sum**2 / num) * (yy_sum - y_sum**2 / num)
    rounding = 1e-24 * xx_sum[0] * yy_sum[0]
    return Correlation(
        *resamples.value_and_interval(
            ratio(xy_sum - x_sum * y_sum / num, np.sqrt(np.where(variances > rounding, variances, 0)))
        )
    )


def spearman(
    measure: Float[Doubles, " networks"], gap: Float[Doubles, " networks"], resamples: Resamples
) -> Correlation:
    """Return Spearman's ρ, the correlation of ranks; ties have the mean of theirs.

    Args:
        measure: One value a network; infinities are its greatest and least.
        gap: The gaps.
        resamples: Draws of configurations; ranks are taken anew in each.

    Example:
        >>> import numpy as np
        >>> from widemargin.prediction import resamples_of
        >>> values = np.arange(20.0)
        >>> spearman(values, values**3, resamples_of(values)).value
        1.0
    """
    weights = resamples.all_and_drawn[:, resamples.which]
    x, y = (_centered_ranks(values, weights) for values in (measure, gap))
    covariance, x_variance, y_variance = ((weights * product).sum(axis=1) for product in (x * y, x**2, y**2))
    return Correlation(*resamples.value_and_interval(ratio(covariance, np.sqrt(x_variance * y_variance))))


def kendall(
    measure: Float[Doubles, " networks"], gap: Float[Doubles, " networks"], resamples: Resamples
) -> Correlation:
    """Return Kendall's τ-b: concordant less discordant pairs, over the geometric mean of the pairs untied in either.

    The arguments are those of :func:`spearman`.

    Example:
        >>> import numpy as np
        >>> from widemargin.prediction import resamples_of
        >>> round(kendall(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]), resamples_of(range(3))).value, 3)
        0.333
    """
    x, y = (np.sign(levels[:, None] - levels[None, :]) for levels in (_levels(measure), _levels(gap)))
    agreeing, untied_x, untied_y = (_pair_sums(signs, resamples) for signs in (x * y, x**2, y**2))
    return Correlation(*resamples.value_and_interval(ratio(agreeing, np.sqrt(untied_x * untied_y))))


def _scaled(values: Doubles) -> Doubles:
    """Return the deviations from the mean, of a magnitude whose squares are numbers; 0 where all values are equal."""
    if np.ptp(values) == 0:
        return np.zeros_like(values)
    unit = values / np.abs(values).max()
    deviations = unit - unit.mean()
    return np.asarray(deviations / np.abs(deviations).max())


def _levels(values: Doubles) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _centered_ranks(values: Doubles, weights: Doubles) -> Doubles:
    """Return each network's rank in each resample, less their mean; copies of a network are ties."""
    levels = _levels(values)
    order = np.argsort(levels, kind="stable")
    starts = np.flatnonzero(np.diff(levels[order], prepend=-1))
    num_at = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(num_at, axis=1) - num_at / 2
    return np.asarray(middle[:, levels] - weights.sum(axis=1, keepdims=True) / 2)


def _pair_sums(values: Shaped[NDArray[np.int64], "networks networks"], resamples: Resamples) -> Doubles:
    """Return the sum over all pairs of networks in each resample, from sums over pairs of configurations."""
    members = np.eye(resamples.counts.shape[1])[resamples.which]
    between = members.T @ values @ members
    counts = resamples.all_and_drawn
    return np.asarray((counts @ between * counts).sum(axis=1))
