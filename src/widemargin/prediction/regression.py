"""Every score of one regression on one set of networks, with intervals over their configurations."""

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import Interval, Resamples, r2_interval
from widemargin.prediction.scores import (
    adjusted_r2,
    mean_r2,
    mean_squared_error,
    number_or_none,
    partitioned_predictions,
    r2,
)

__all__ = ["regression_scores"]

Doubles = NDArray[np.float64]


def regression_scores(
    predictor: GapPredictor,
    X: Float[Doubles, "networks features"],
    gap: Float[Doubles, " networks"],
    configurations: Shaped[NDArray[Any], " networks"],
    resamples: Resamples,
) -> dict[str, Any]:
    """Return the scores by name, as in :class:`widemargin.prediction.Score`; ``note`` says why some are missing.

    The adjusted R² of least squares counts the rank of the features, that of ridge their effective number.

    Args:
        predictor: An unfitted regression.
        X: Features; all finite.
        gap: Gaps.
        configurations: The same value for repeats of one configuration.
        resamples: Draws of the configurations, for the intervals.

    Raises:
        InvalidInputError: Features that the regression cannot take, or fewer than three networks.
    """
    fitted = predictor.fit(X, gap)
    predicted = fitted.predict(X)
    adjusted = adjusted_r2(gap, predicted, fitted.num_parameters_)
    interval = r2_interval(gap, (gap - predicted) ** 2, resamples)
    scores: dict[str, Any] = {
        "r2": number_or_none(r2(gap, predicted)),
        "adjusted_r2": number_or_none(adjusted),
        "mse": mean_squared_error(gap, predicted),
    }
    if np.isfinite(adjusted):
        scores["adjusted_r2_interval"] = _adjusted(interval, len(gap), fitted.num_parameters_)
    scores |= _left_out("kfold_r2", predictor, X, gap, resamples, None)
    num_others = len(gap) - max(Counter(configurations).values())
    if num_others == 0:
        return scores | {"note": "one configuration only: nothing to leave out as a group"}
    if num_others == 1:
        return scores | {"note": "one network besides a configuration: nothing to fit when that is left out"}
    return scores | _left_out("grouped_kfold_r2", predictor, X, gap, resamples, configurations) | {"note": ""}


def _left_out(
    name: str, predictor: GapPredictor, X: Doubles, gap: Doubles, resamples: Resamples, groups: NDArray[Any] | None
) -> dict[str, Any]:
    predictions = partitioned_predictions(predictor, X, gap, groups=groups)
    score = mean_r2(gap, predictions)
    value = number_or_none(score.value)
    errors = ((gap - predictions) ** 2).mean(axis=0)  # one spread for all partitions: mean R² is R² of mean errors
    return {
        name: value,
        f"{name}_error": number_or_none(score.standard_error),
        f"{name}_interval": None if value is None else r2_interval(gap, errors, resamples),
    }


def _adjusted(interval: Interval | None, num_networks: int, num_fitted: float) -> Interval | None:
    factor = (num_networks - 1) / (num_networks - num_fitted - 1)
    return None if interval is None else (1 - (1 - interval[0]) * factor, 1 - (1 - interval[1]) * factor)
