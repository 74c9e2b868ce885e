"""The predictor of a zoo: what it is fitted on, and what it says of itself."""

import itertools
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import GroupKFold

from prediction.signature_tables import features, zoo
from widemargin.errors import InvalidInputError
from widemargin.prediction import GapPredictor, kfold_r2, measures_predictor, signature_predictor


def test_fits_ridge_on_the_logarithms_of_the_full_signature() -> None:
    predictor = signature_predictor(zoo(), "little")
    oracle = GapPredictor(regularization="ridge").fit(features(zoo()), zoo()["gap"])
    np.testing.assert_array_equal(predictor.coef_, oracle.coef_)
    assert list(predictor.feature_names_in_) == list(features(zoo()).columns)


def test_says_where_it_came_from() -> None:
    table = zoo()
    oracle = GapPredictor(regularization="ridge")
    X, gap = features(table).to_numpy(), table["gap"].to_numpy()
    assert signature_predictor(table, "little").origin_ == {
        "name": "little",
        "num_networks": 40,
        "num_configurations": 20,
        "train_accuracy_range": [0.6, 1.0],
        "gap_range": [gap.min(), gap.max()],
        "kfold_r2": pytest.approx(kfold_r2(oracle, X, gap).value),
        "grouped_kfold_r2": pytest.approx(kfold_r2(oracle, X, gap, groups=table["configuration"].to_numpy()).value),
        "sure_pairs": ANY,
        "sure_pairs_right": ANY,
    }


def test_counts_the_pairs_it_is_sure_of_on_configurations_left_out() -> None:
    """By loops: every fold, every pair of its networks on the same data."""
    table = zoo()
    table["data"] = np.where(np.arange(40) % 4 < 2, "some", "others")
    X, gap = features(table), table["gap"].to_numpy()
    test_accuracy = table["train_accuracy"].to_numpy() - gap
    num_sure = num_right = 0
    for known, asked in GroupKFold(5, shuffle=True, random_state=0).split(X, gap, table["configuration"]):
        predictor = GapPredictor(regularization="ridge").fit(X.iloc[known], gap[known])
        predicted, scale = predictor.predict_jointly(X.iloc[asked])
        expected = table["train_accuracy"].to_numpy()[asked] - predicted
        for i, j in itertools.permutations(range(len(asked)), 2):
            spread = np.sqrt(scale[i, i] + scale[j, j] - 2 * scale[i, j])
            chance = stats.t.cdf((expected[i] - expected[j]) / spread, predictor.degrees_of_freedom_)
            if chance >= 0.9 and table["data"].iloc[asked[i]] == table["data"].iloc[asked[j]]:
                num_sure += 1
                num_right += test_accuracy[asked[i]] > test_accuracy[asked[j]]
    origin = signature_predictor(table, "little").origin_
    assert (origin["sure_pairs"], origin["sure_pairs_right"]) == (num_sure, num_right)
    assert 20 < num_right <= num_sure


def test_leaves_out_networks_without_margins_and_those_that_never_learned() -> None:
    table = zoo()
    table.loc["run0", "why_left_out"] = "its training diverged"
    table.loc["run1", ["train_accuracy", "train_loss"]] = 0.1, 2.3
    assert signature_predictor(table, "little").origin_["num_networks"] == 38


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (zoo(2), "networks of at least 3 configurations that learned and have margins, got 2 in little. Train a"),
        (
            zoo().assign(**{"quartiles/other/q1": np.where(np.arange(40) < 3, 1.0, np.nan)}),
            "margins at the same layers of every network, and those of little differ. Fit on a zoo of one",
        ),
    ],
)
def test_a_zoo_that_cannot_be_fitted_says_why(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        signature_predictor(table, "little")


def measured_zoo() -> pd.DataFrame:
    """Return the little zoo with measures that know its gaps."""
    rng = np.random.default_rng(1)
    table = zoo()
    norm = np.exp(20 * table["gap"] + 0.1 * rng.normal(size=40))
    loss = rng.normal(size=40)
    rare = np.where(np.arange(40) < 3, np.inf, 1.0 + np.arange(40))
    return table.assign(**{"m.norm": norm, "m.loss": loss, "m.rare": rare, "m.flat": 1.0})


def test_a_predictor_on_measures_is_ridge_on_logarithms_of_what_is_positive() -> None:
    table = measured_zoo()
    predictor = measures_predictor(table, "little", ["norm", "loss", "flat", "absent"])
    X = pd.DataFrame({"log norm": np.log(table["m.norm"]), "loss": table["m.loss"]})
    oracle = GapPredictor("identity", "ridge").fit(X, table["gap"])
    assert list(predictor.feature_names_in_) == ["log norm", "loss"]
    np.testing.assert_allclose(predictor.coef_, oracle.coef_)
    assert predictor.origin_["grouped_kfold_r2"] == pytest.approx(
        kfold_r2(oracle, X, table["gap"].to_numpy(), groups=table["configuration"].to_numpy()).value
    )
    assert predictor.origin_["num_configurations"] == 20


def test_measures_that_more_than_a_twentieth_of_the_networks_lack_are_left_out() -> None:
    predictor = measures_predictor(measured_zoo(), "little", ["norm", "rare"])
    assert list(predictor.feature_names_in_) == ["log norm"]
    few = measured_zoo()
    few.loc["run0", "m.rare"], few.loc["run1", "m.rare"] = 1.0, 2.0
    assert list(measures_predictor(few, "little", ["rare"]).feature_names_in_) == ["log rare"]


def test_a_zoo_that_was_not_measured_has_no_predictor_on_measures() -> None:
    with pytest.raises(InvalidInputError, match=r"networks that were measured, and those of little were not\."):
        measures_predictor(zoo(), "little", ["norm"])
