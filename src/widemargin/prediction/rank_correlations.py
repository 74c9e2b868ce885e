"""Rank correlations of a measure with the gap, with intervals over configurations."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from widemargin.prediction.intervals import Interval, Resamples

__all__ = ["RankCorrelation", "kendall", "spearman"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """A rank correlation; None where all values of one side are the same.

    Attributes:
        value: From −1 to 1.
        interval: At 95 %, over configurations; None for fewer than ten of them.
    """

    value: float | None
    interval: Interval | None


def spearman(
    measure: Float[Doubles, " networks"], gap: Float[Doubles, " networks"], resamples: Resamples
) -> RankCorrelation:
    """Return Spearman's ρ, the correlation of ranks; ties have the mean of theirs.

    Args:
        measure: One value a network.
        gap: The gaps.
        resamples: Draws of configurations; ranks are taken anew in each.

    Example:
        >>> import numpy as np
        >>> from widemargin.prediction import resamples_of
        >>> values = np.arange(20.0)
        >>> spearman(values, values**3, resamples_of(values)).value
        1.0
    """
    weights = _counts(resamples)[:, resamples.which]
    x, y = (_centered_ranks(values, weights) for values in (measure, gap))
    covariance, x_variance, y_variance = ((weights * product).sum(axis=1) for product in (x * y, x**2, y**2))
    return _found(covariance, np.sqrt(x_variance * y_variance), resamples)


def kendall(
    measure: Float[Doubles, " networks"], gap: Float[Doubles, " networks"], resamples: Resamples
) -> RankCorrelation:
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
    return _found(agreeing, np.sqrt(untied_x * untied_y), resamples)


def _counts(resamples: Resamples) -> Doubles:
    """Return the networks as they are, each configuration once, before those that were drawn."""
    return np.vstack([np.ones(resamples.counts.shape[1]), resamples.counts])


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
    counts = _counts(resamples)
    return np.asarray((counts @ between * counts).sum(axis=1))


def _found(numerator: Doubles, denominator: Doubles, resamples: Resamples) -> RankCorrelation:
    exists = denominator > 0
    value, *drawn = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=exists)
    return RankCorrelation(float(value) if exists[0] else None, resamples.interval(np.array(drawn)))
