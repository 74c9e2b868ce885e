"""What a measure explains of the gap that other columns leave open."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import Interval, Resamples, ratio
from widemargin.prediction.scores import partitioned_predictions

__all__ = ["PartialR2", "partial_r2s"]

Doubles = NDArray[np.float64]

FEWEST_IN_FITS = 3


@dataclass(frozen=True, slots=True)
class PartialR2:
    """A partial R² on left-out configurations; None where nothing is given, or nothing left open.

    Attributes:
        value: 1 where the measure explains all that was left, 0 where it adds nothing, below 0 where it harms.
        interval: At 95 %, over configurations; None for fewer than ten of them.
    """

    value: float | None = None
    interval: Interval | None = None


def partial_r2s(
    measures: Float[Doubles, "measures networks"],
    given: Float[Doubles, "networks columns"],
    gap: Float[Doubles, " networks"],
    resamples: Resamples,
) -> list[PartialR2]:
    """Return the partial R² of each measure: 1 − Σ(g − ĝ₁)² / Σ(g − ĝ₀)².

    ĝ₀ is a ridge regression on the given columns, ĝ₁ on them and the measure; either is fitted to networks of other
    configurations, and takes of a measure that is positive throughout the logarithm, too. Of given columns it takes
    logarithms in place of themselves or beside them: whichever predicts better without any measure, since a single
    network far out can ruin the latter. As in every interval, the predictions stay as they were made.

    Args:
        measures: One finite value a network.
        given: What is known already; all finite.
        gap: The gaps.
        resamples: Draws of the configurations.

    Source: the coefficient of partial determination, e.g. Draper and Smith 1998, Applied Regression Analysis; here of
    left-out predictions.

    Example:
        >>> from widemargin.prediction import resamples_of
        >>> fit, width = np.random.default_rng(0).normal(size=(2, 40))
        >>> found = partial_r2s(width[None], fit[:, None], 3 * fit + width, resamples_of(range(40)))
        >>> round(found[0].value, 3)
        1.0
    """
    num_fitted = len(gap) - int(np.bincount(resamples.which).max())
    if given.shape[1] == 0 or num_fitted < FEWEST_IN_FITS:
        return [PartialR2()] * len(measures)
    forms = [_logarithms_in_place(given), _with_logarithms(given)]
    sums = [_sums_of_errors(form, gap, resamples) for form in forms]
    best = int(sums[1][0] < sums[0][0])
    known, without = forms[best], sums[best]
    something = without > 1e-12 * float(((gap - gap.mean()) ** 2).sum())
    left_open = np.where(something, without, 0.0)
    found = []
    for measure in measures:
        features = np.column_stack([known, _with_logarithms(measure[:, None])])
        shares = 1 - ratio(_sums_of_errors(features, gap, resamples), left_open)
        found.append(PartialR2(*resamples.value_and_interval(shares)))
    return found


def _sums_of_errors(features: Doubles, gap: Doubles, resamples: Resamples) -> Float[Doubles, " all_and_drawn"]:
    """Return the sum of squared errors of left-out predictions, of all networks and of those drawn."""
    predictor = GapPredictor("identity", "ridge")
    predictions = partitioned_predictions(predictor, features, gap, groups=resamples.which)
    errors = ((gap - predictions) ** 2).mean(axis=0)
    return np.concatenate([[errors.sum()], resamples.sums(errors)])


def _with_logarithms(columns: Float[Doubles, "networks columns"]) -> Float[Doubles, "networks more_columns"]:
    """Return the columns, scaled so that squares are finite, and the logarithms of those that are positive."""
    positive = columns[:, (columns > 0).all(axis=0)]
    return np.column_stack([_scaled(columns), np.log(positive)])


def _logarithms_in_place(columns: Float[Doubles, "networks columns"]) -> Float[Doubles, "networks columns"]:
    """Return the logarithms of columns that are positive, and the others."""
    is_positive = (columns > 0).all(axis=0)
    return np.where(is_positive, np.log(np.where(is_positive, columns, 1.0)), _scaled(columns))


def _scaled(columns: Float[Doubles, "networks columns"]) -> Float[Doubles, "networks columns"]:
    greatest = np.abs(columns).max(axis=0)
    return columns / np.where(greatest > 0, greatest, 1.0)
