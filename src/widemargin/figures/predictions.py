"""Picture of predicted against actual generalization gaps."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.prediction import Ablation, GapPredictor, features_of, left_out_predictions

__all__ = ["PredictedGaps", "draw_predicted_gaps", "predicted_gaps"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PredictedGaps:
    """Gap of each network, and what a regression makes of its features.

    Attributes:
        runs: Key of each network.
        actual: Measured gaps.
        fitted: Predictions for the networks that were fitted on.
        left_out: Predictions by fits that left out the network's configuration.
        half_interval: Half the width of each network's 90 % prediction interval; NaN where there is none.
    """

    runs: tuple[str, ...]
    actual: Float[Doubles, " networks"]
    fitted: Float[Doubles, " networks"]
    left_out: Float[Doubles, " networks"]
    half_interval: Float[Doubles, " networks"]


def predicted_gaps(table: pd.DataFrame, ablation: Ablation) -> PredictedGaps:
    """Return what one regression predicts for every network that has margins.

    Args:
        table: As :func:`widemargin.zoo.zoo_table` makes it.
        ablation: Which features and which regression.

    Raises:
        InvalidInputError: Fewer than two configurations, or networks without some of the features.
    """
    usable = table[table["why_left_out"] == ""]
    features = features_of(ablation, usable).to_numpy()
    num_lacking = int(np.isnan(features).any(axis=1).sum()) if features.shape[1] else len(features)
    if num_lacking:
        raise InvalidInputError(
            f"predictions need the same features of every network, but {num_lacking} of {len(features)} lack some of "
            f"those of {ablation.name!r}. Networks whose layers have other names need a zoo of their own."
        )
    gap = usable["gap"].to_numpy(dtype=np.float64)
    predictor = GapPredictor(ablation.transform, ablation.regularization)
    left_out = left_out_predictions(predictor, features, gap, groups=usable["configuration"].to_numpy())
    fitted = predictor.fit(features, gap)
    has_interval = np.isfinite(fitted.residual_std_)
    lower, upper = fitted.predict_interval(features) if has_interval else (np.full_like(gap, np.nan),) * 2
    return PredictedGaps(tuple(map(str, usable.index)), gap, fitted.predict(features), left_out, (upper - lower) / 2)


def draw_predicted_gaps(ax: Axes, gaps: PredictedGaps) -> Axes:
    """Draw predictions for left-out networks against the actual gap, and the diagonal; return the axes."""
    ends = [min(gaps.actual.min(), gaps.left_out.min()), max(gaps.actual.max(), gaps.left_out.max())]
    ax.plot(ends, ends, color="grey", linewidth=0.8, linestyle="--", label="prediction = actual")
    ax.scatter(gaps.actual, gaps.left_out, s=14, alpha=0.8, label="networks, each left out of its fit")
    ax.set_xlabel("actual gap (train − test accuracy)")
    ax.set_ylabel("predicted gap")
    ax.legend(frameon=False)
    return ax
