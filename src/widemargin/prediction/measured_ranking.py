"""Networks in the order of their expected generalization, by a predictor on measures."""

import math
from collections.abc import Mapping

import pandas as pd

from widemargin.errors import InvalidInputError
from widemargin.prediction.familiarity import NUM_NAMED
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.ranking import Ranking, ranked_by

__all__ = ["ACCURACY", "gap_by_measures", "measures_of", "rank_measured"]

LOG = "log "
ACCURACY = "training_accuracy"
"""The measure that expected test accuracies start from."""


def measures_of(predictor: GapPredictor) -> list[str] | None:
    """Return the measures that a predictor takes, training accuracy with them; None if it takes signatures."""
    names = [str(name) for name in getattr(predictor, "feature_names_in_", [])]
    if not names or any("/" in name for name in names):
        return None
    return list(dict.fromkeys([*(name.removeprefix(LOG) for name in names), ACCURACY]))


def gap_by_measures(values: Mapping[str, float], predictor: GapPredictor) -> float:
    """Return the generalization gap that a predictor on measures expects of one network [accuracy].

    Args:
        values: By name of the measure; what is missing or infinite is taken as the mean of what was seen.
        predictor: As :func:`widemargin.prediction.measures_predictor` fits it.

    Example:
        >>> table = pd.DataFrame({"log norm": [0.0, 1.0, 2.0, 3.0]})
        >>> predictor = GapPredictor("identity").fit(table, [0.1, 0.2, 0.3, 0.4])
        >>> round(gap_by_measures({"norm": math.e}, predictor), 6)
        0.2
    """
    row, _ = _features(values, predictor)
    return float(predictor.predict(pd.DataFrame([row], columns=list(predictor.feature_names_in_)))[0])


def rank_measured(
    values: Mapping[str, Mapping[str, float]],
    predictor: GapPredictor,
    *,
    left_out: Mapping[str, str] | None = None,
) -> Ranking:
    """Return networks ordered by their expected test accuracy, from measures that were taken of them.

    What is missing, infinite, or not positive where its logarithm is asked for is taken as the mean of the networks
    that the predictor was fitted on, and a warning says so.

    Args:
        values: Of each network: value by name of the measure, ``training_accuracy`` among them.
        predictor: As :func:`widemargin.prediction.measures_predictor` fits it.
        left_out: Of networks that could not be measured, the reason.

    Raises:
        InvalidInputError: No network with a training accuracy, or a predictor that takes signatures.
        TooFewExamplesError: The predictor has no residuals to judge by.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame({"log norm": rng.normal(size=30)})
        >>> predictor = GapPredictor("identity", "ridge").fit(table, 0.1 + 0.02 * table["log norm"])
        >>> large, small = ({"norm": norm, "training_accuracy": 1.0} for norm in (2.0, 0.5))
        >>> [network.name for network in rank_measured({"large": large, "small": small}, predictor).networks]
        ['small', 'large']
    """
    if measures_of(predictor) is None:
        raise InvalidInputError(
            "a predictor that ranks by measures must be fitted on measures, and this one takes signatures. Fit it "
            "with measures_predictor, or rank with rank."
        )
    reasons, rows, warnings = dict(left_out or {}), {}, {}
    for name, measures in values.items():
        if not math.isfinite(measures.get(ACCURACY, math.nan)):
            reasons[name] = f"its {ACCURACY} is not known."
            continue
        rows[name], warnings[name] = _features(measures, predictor)
    if not rows:
        told = " ".join(dict.fromkeys(reasons.values())) or "Hand over networks."
        raise InvalidInputError(
            f"a ranking needs at least one network that can be measured, got {len(reasons)} that cannot. {told}"
        )
    features = pd.DataFrame(rows, index=list(predictor.feature_names_in_)).T
    accuracies = [values[name][ACCURACY] for name in rows]
    return ranked_by(predictor, features, accuracies, left_out=reasons, warnings=warnings)


def _features(measures: Mapping[str, float], predictor: GapPredictor) -> tuple[list[float], tuple[str, ...]]:
    """Return what the predictor takes of one network, and a warning if some of it is not known."""
    row, unknown = [], []
    for name, mean in zip(predictor.feature_names_in_, predictor.seen_.mean, strict=True):
        value = measures.get(name.removeprefix(LOG), math.nan)
        if name.startswith(LOG):
            value = math.log(value) if value > 0 else math.nan
        if not math.isfinite(value):
            unknown.append(name.removeprefix(LOG))
        row.append(value if math.isfinite(value) else float(mean))
    if not unknown:
        return row, ()
    rest = f" and {len(unknown) - NUM_NAMED} more" if len(unknown) > NUM_NAMED else ""
    return row, (f"not known, and taken as the mean of what was seen: {', '.join(unknown[:NUM_NAMED])}{rest}.",)
