"""How well predictions match the gap."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, clone
from sklearn.model_selection import GroupKFold, KFold

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.results import Estimate

__all__ = [
    "adjusted_r2",
    "kfold_r2",
    "left_out_predictions",
    "mean_r2",
    "mean_squared_error",
    "number_or_none",
    "partitioned_predictions",
    "r2",
]

Doubles = NDArray[np.float64]


def r2(actual: Float[Doubles, " networks"], predicted: Float[Doubles, " networks"]) -> float:
    """Return R² = 1 − Σ(g − ĝ)² / Σ(g − ḡ)², the explained share of the variance; NaN where nothing varies."""
    if np.ptp(actual) == 0:  # the sum of squares below would be rounding
        return np.nan
    total = float(((actual - actual.mean()) ** 2).sum())
    return 1 - float(((actual - predicted) ** 2).sum()) / total


def adjusted_r2(
    actual: Float[Doubles, " networks"], predicted: Float[Doubles, " networks"], num_features: int | float
) -> float:
    """Return 1 − (1 − R²)(n − 1)/(n − p − 1), R² less what p fitted features explain by chance.

    NaN where n ≤ p + 1, as then nothing is left to judge by.

    Source: Jiang et al. 2019 (arXiv 1810.00113), section 4.
    """
    num_free = len(actual) - num_features - 1
    if num_free <= 0:
        return np.nan
    return 1 - (1 - r2(actual, predicted)) * (len(actual) - 1) / num_free


def mean_squared_error(actual: Float[Doubles, " networks"], predicted: Float[Doubles, " networks"]) -> float:
    """Return the mean of (g − ĝ)² [squared gap]."""
    return float(np.mean((actual - predicted) ** 2))


def kfold_r2(
    predictor: RegressorMixin,
    X: ArrayLike,
    y: Float[Doubles, " networks"],
    *,
    groups: ArrayLike | None = None,
    num_folds: int = 10,
    num_partitions: int = 10,
    seed: int = 0,
) -> Estimate:
    """Return R² of predictions made for networks that were left out of the fit.

    In each partition every network is predicted once, and one R² is taken over all of them; the value is the
    mean over partitions, the standard error their standard deviation over the root of their number: it covers
    the choice of folds, not that of networks.

    Args:
        predictor: An unfitted scikit-learn regressor; it is cloned.
        X: Features [networks, features].
        y: Gaps [networks].
        groups: Networks of one group never straddle folds (repeats of one configuration, say).
        num_folds: Folds of each partition; fewer where there are fewer networks or groups.
        num_partitions: Random partitions to average over.
        seed: Seed of the partitions.

    Raises:
        InvalidInputError: Fewer than two networks or groups, or a fold that leaves fewer than two networks.

    Source: Jiang et al. 2019 (arXiv 1810.00113), section 4; ten folds.
    """
    predictions = partitioned_predictions(
        predictor, X, y, groups=groups, num_folds=num_folds, num_partitions=num_partitions, seed=seed
    )
    return mean_r2(y, predictions)


def partitioned_predictions(
    predictor: RegressorMixin,
    X: ArrayLike,
    y: Float[Doubles, " networks"],
    *,
    groups: ArrayLike | None = None,
    num_folds: int = 10,
    num_partitions: int = 10,
    seed: int = 0,
) -> Float[Doubles, "partitions networks"]:
    """Return each network's predicted gaps from fits that left out its fold, a row for each partition.

    The arguments are those of :func:`kfold_r2`.

    Raises:
        InvalidInputError: Fewer than two networks or groups, or a fold that leaves fewer than two networks.
    """
    return np.stack(
        [
            left_out_predictions(predictor, X, y, groups=groups, num_folds=num_folds, seed=seed + partition)
            for partition in range(num_partitions)
        ]
    )


def mean_r2(actual: Float[Doubles, " networks"], predictions: Float[Doubles, "partitions networks"]) -> Estimate:
    """Return the mean R² over partitions and its standard error over their choice, none for a single one."""
    values = [r2(actual, predicted) for predicted in predictions]
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), standard_error=error)


def left_out_predictions(
    predictor: RegressorMixin,
    X: ArrayLike,
    y: Float[Doubles, " networks"],
    *,
    groups: ArrayLike | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> Float[Doubles, " networks"]:
    """Return each network's predicted gap from a fit that left out its fold.

    The arguments are those of :func:`kfold_r2`.

    Raises:
        InvalidInputError: Fewer than two networks or groups, or a fold that leaves fewer than two networks.
    """
    num_units = len(y) if groups is None else len(np.unique(np.asarray(groups)))
    if num_units < 2:
        raise InvalidInputError(
            f"cross-validation needs at least 2 networks (or groups), got {num_units}. Train more networks."
        )
    X = np.asarray(X, dtype=np.float64)
    splitter = (KFold if groups is None else GroupKFold)(min(num_folds, num_units), shuffle=True, random_state=seed)
    folds = list(splitter.split(X, y, groups))
    num_fitted = min(len(train) for train, _ in folds)
    if num_fitted < 2:
        raise InvalidInputError(
            f"cross-validation must leave at least 2 networks to fit on, but one of its folds leaves {num_fitted} of "
            f"{len(y)}. Train more networks, or use more folds."
        )
    fitted, predicted = clone(predictor), np.empty_like(y, dtype=np.float64)
    if isinstance(fitted, GapPredictor):  # checked once for all folds, which takes longer than a fit
        features, gap = fitted.checked(X, y)
        for train, test in folds:
            found = fitted.regression(features[train], gap[train])
            predicted[test] = features[test] @ found.slopes + found.intercept
        return predicted
    for train, test in folds:
        predicted[test] = fitted.fit(X[train], y[train]).predict(X[test])
    return predicted


def number_or_none(value: float | None) -> float | None:
    """Return the value, or None where it is not finite: a score that does not exist."""
    return value if value is not None and np.isfinite(value) else None
