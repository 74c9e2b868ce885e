"""Predictors of a zoo, and how well they predict, and order pairs of, networks that they have not seen."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

from widemargin.errors import InvalidInputError
from widemargin.prediction.combinations import combination_features
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.ranking import SURE, order_probabilities
from widemargin.prediction.scores import kfold_r2, number_or_none
from widemargin.prediction.subsets import has_learned

__all__ = ["measures_predictor", "signature_predictor"]

PREFIX, MEASURE = "quartiles/", "m."
KNOWN_SHARE = 0.95
NUM_FOLDS = 5


def signature_predictor(table: pd.DataFrame, name: str) -> GapPredictor:
    """Return ridge regression of the gap on the logarithms of a zoo's full signatures, with its origin.

    Networks without margins, and those no better than chance on their own training data, are left out.

    Args:
        table: One row a network, as :func:`widemargin.zoo.zoo_table` makes it.
        name: What the zoo is called.

    Raises:
        InvalidInputError: Fewer than three configurations that learned, or a network without some layer's margins.
    """
    usable = _usable(table, name)
    features = usable[[column for column in table.columns if column.startswith(PREFIX)]].astype(float)
    if features.isna().to_numpy().any():
        raise InvalidInputError(
            f"a predictor needs margins at the same layers of every network, and those of {name} differ. Fit on a "
            "zoo of one architecture."
        )
    features = features.rename(columns=lambda column: column.removeprefix(PREFIX))
    return _fitted(GapPredictor(regularization="ridge"), features, usable, name)


def measures_predictor(table: pd.DataFrame, name: str, measures: Sequence[str]) -> GapPredictor:
    """Return ridge regression of the gap on measures of a zoo's networks, with its origin.

    Measures enter as :func:`widemargin.prediction.combination_features` has them; one that is missing or infinite for
    more than a twentieth of the networks is left out. Networks without margins, and those no better than chance on
    their own training data, are left out.

    Args:
        table: One row a network, as :func:`widemargin.zoo.zoo_table` makes it of a zoo that was measured.
        name: What the zoo is called.
        measures: Names of the measures; the table's columns are called ``m.NAME``.

    Raises:
        InvalidInputError: Fewer than three configurations that learned, or none of the measures was taken.
    """
    usable = _usable(table, name)
    named = usable[[f"{MEASURE}{measure}" for measure in measures if f"{MEASURE}{measure}" in table]]
    known = np.isfinite(named.astype(np.float64)).mean() >= KNOWN_SHARE
    features = combination_features(usable, named.columns[known].tolist())
    if features.empty:
        raise InvalidInputError(
            f"a predictor on measures needs networks that were measured, and those of {name} were not. First: "
            "widemargin zoo measure ZOO."
        )
    features = features.rename(columns=lambda column: column.replace(MEASURE, "", 1))
    return _fitted(GapPredictor("identity", "ridge"), features, usable, name)


def _usable(table: pd.DataFrame, name: str) -> pd.DataFrame:
    usable = table[table["why_left_out"] == ""]
    usable = usable[has_learned(usable)]
    if (num_configurations := usable["configuration"].nunique()) < 3:
        raise InvalidInputError(
            "a predictor needs networks of at least 3 configurations that learned and have margins, got "
            f"{num_configurations} in {name}. Train a larger zoo."
        )
    return usable


def _fitted(predictor: GapPredictor, features: pd.DataFrame, table: pd.DataFrame, name: str) -> GapPredictor:
    groups, gap = table["configuration"].to_numpy(), table["gap"].to_numpy(dtype=np.float64)
    accuracies = table["train_accuracy"]
    predictor.fit(features, gap)
    predictor.origin_ = {
        "name": name,
        "num_networks": len(table),
        "num_configurations": table["configuration"].nunique(),
        "train_accuracy_range": [float(accuracies.min()), float(accuracies.max())],
        "gap_range": [float(gap.min()), float(gap.max())],
        "kfold_r2": number_or_none(kfold_r2(predictor, features, gap).value),
        "grouped_kfold_r2": number_or_none(kfold_r2(predictor, features, gap, groups=groups).value),
        **_sure_pairs(predictor, table, features.to_numpy()),
    }
    return predictor


def _sure_pairs(
    predictor: GapPredictor, table: pd.DataFrame, features: Float[NDArray[np.float64], "networks features"]
) -> dict[str, int]:
    """Return of how many pairs on the same data, left out of a fit, it is sure, and how many of them are right."""
    gap, accuracy = (table[name].to_numpy(dtype=np.float64) for name in ("gap", "train_accuracy"))
    test_accuracy, data = accuracy - gap, pd.factorize(table["data"])[0]
    groups, counts = table["configuration"].to_numpy(), np.zeros(2, dtype=int)
    folds = GroupKFold(min(NUM_FOLDS, len(np.unique(groups))), shuffle=True, random_state=0)
    for known, asked in folds.split(features, gap, groups):
        fitted = clone(predictor).fit(features[known], gap[known])
        if np.isnan(fitted.residual_std_):
            continue
        predicted, scale = fitted.predict_jointly(features[asked])
        chances = order_probabilities(accuracy[asked] - predicted, scale, fitted.degrees_of_freedom_)
        differences = test_accuracy[asked][:, None] - test_accuracy[asked][None, :]
        sure = (chances >= SURE) & (data[asked][:, None] == data[asked][None, :]) & (differences != 0)
        counts += [sure.sum(), (differences[sure] > 0).sum()]
    return {"sure_pairs": int(counts[0]), "sure_pairs_right": int(counts[1])}
