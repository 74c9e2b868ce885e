"""The predictor of a zoo, with what is known of it: how well it predicts, and orders pairs, that it has not seen."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.ranking import SURE, order_probabilities
from widemargin.prediction.scores import kfold_r2, number_or_none
from widemargin.prediction.subsets import has_learned

__all__ = ["signature_predictor"]

PREFIX = "quartiles/"
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
    usable = table[table["why_left_out"] == ""]
    usable = usable[has_learned(usable)]
    features = usable[[column for column in table.columns if column.startswith(PREFIX)]].astype(float)
    groups, gap = usable["configuration"].to_numpy(), usable["gap"].to_numpy(dtype=np.float64)
    if (num_configurations := len(np.unique(groups))) < 3:
        raise InvalidInputError(
            "a predictor needs networks of at least 3 configurations that learned and have margins, got "
            f"{num_configurations} in {name}. Train a larger zoo."
        )
    if features.isna().to_numpy().any():
        raise InvalidInputError(
            f"a predictor needs margins at the same layers of every network, and those of {name} differ. Fit on a "
            "zoo of one architecture."
        )
    predictor = GapPredictor(regularization="ridge")
    predictor.fit(features.rename(columns=lambda column: column.removeprefix(PREFIX)), gap)
    accuracies = usable["train_accuracy"]
    predictor.origin_ = {
        "name": name,
        "num_networks": len(usable),
        "num_configurations": num_configurations,
        "train_accuracy_range": [float(accuracies.min()), float(accuracies.max())],
        "gap_range": [float(gap.min()), float(gap.max())],
        "kfold_r2": number_or_none(kfold_r2(predictor, features, gap).value),
        "grouped_kfold_r2": number_or_none(kfold_r2(predictor, features, gap, groups=groups).value),
        **_sure_pairs(predictor, usable, features.to_numpy()),
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
