"""Regressions on many measures: what goes into them, and what they reach."""

import numpy as np
import pandas as pd
import pytest

from widemargin.prediction import GapPredictor, combination_features, combination_scores, kfold_r2


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Return networks whose gap depends on two norms and a sharpness; training accuracy says nothing."""
    rng = np.random.default_rng(0)
    norm, other, sharpness, noise, accuracy = rng.normal(size=(5, 80))
    return pd.DataFrame(
        {
            "gap": norm + other + sharpness + 0.3 * noise,
            "configuration": np.arange(80) // 2,
            "data": np.arange(80) % 4,
            "why_left_out": "",
            "train_accuracy": 0.9 + 0.01 * accuracy,
            "train_loss": np.exp(accuracy),
            "quartiles/layer/median": np.exp(rng.normal(size=80)),
            "m.norm": np.exp(100 * norm),
            "m.other": other,
            "m.sharpness": np.exp(sharpness),
        }
    )


FAMILIES = {"norms": ["m.norm", "m.other", "m.absent"], "sharpness": ["m.sharpness"], "spectra": ["m.exponent"]}


def test_is_a_ridge_on_logarithms_of_what_is_positive(table: pd.DataFrame) -> None:
    scores = {score.name: score for score in combination_scores(table, FAMILIES) if score.subset == "all"}
    features = np.column_stack([np.log(table["m.norm"]), table["m.other"]])
    ridge = GapPredictor("identity", "ridge")
    expected = kfold_r2(ridge, features, table["gap"].to_numpy(), groups=table["configuration"])
    found = scores["measures: norms"]
    assert found.grouped_kfold_r2 == pytest.approx(expected.value)
    assert (found.num_features, found.num_networks, found.regression) == (2, 80, "ridge")
    assert found.same_data_r2 is not None
    assert found.same_data_r2 == pytest.approx(found.grouped_kfold_r2, abs=0.1)


def test_families_alone_then_all_of_them_then_with_the_rest(table: pd.DataFrame) -> None:
    scores = [score for score in combination_scores(table, FAMILIES) if score.subset == "all"]
    assert [(score.name, score.num_features) for score in scores] == [
        ("measures: norms", 2),
        ("measures: norms + accuracy and loss", 6),
        ("measures: sharpness", 1),
        ("measures: sharpness + accuracy and loss", 5),
        ("measures: all", 3),
        ("measures: all + accuracy and loss", 7),
        ("measures: all + accuracy and loss + signature", 8),
    ]
    reached = {score.name: score.grouped_kfold_r2 for score in scores}
    assert reached["measures: all"] > 0.9 > reached["measures: norms"] > reached["measures: sharpness"]


def test_few_networks_for_many_features_are_told(table: pd.DataFrame) -> None:
    scores = combination_scores(table[:20], FAMILIES)
    assert {score.note for score in scores if score.name == "measures: all"} == {
        "fewer than ten networks per feature"
    }


def test_no_measures_are_no_combination(table: pd.DataFrame) -> None:
    assert combination_scores(table.drop(columns=["m.norm", "m.other", "m.sharpness"]), FAMILIES) == []


def test_networks_without_margins_are_left_out(table: pd.DataFrame) -> None:
    some = table.assign(why_left_out=np.where(np.arange(80) < 40, "diverged", ""))
    assert combination_scores(some, FAMILIES) == combination_scores(table[40:], FAMILIES)


def test_units_do_not_matter(table: pd.DataFrame) -> None:
    scaled = table.assign(**{"m.norm": 1e-30 * table["m.norm"], "m.other": 50 * table["m.other"]})
    for one, other in zip(combination_scores(table, FAMILIES), combination_scores(scaled, FAMILIES), strict=True):
        assert other.grouped_kfold_r2 == pytest.approx(one.grouped_kfold_r2)


def test_missing_and_infinite_values_become_the_median(table: pd.DataFrame) -> None:
    some = table["m.norm"].copy()
    some[:3] = [np.inf, np.nan, -np.inf]
    features = combination_features(table.assign(**{"m.norm": some}), ["m.norm"])
    assert features["log m.norm"].tolist()[:3] == [np.log(some[3:]).median()] * 3
    assert features["log m.norm"].tolist()[3:] == np.log(some[3:]).tolist()


@pytest.mark.parametrize("values", [np.full(80, 2.0), np.where(np.arange(80) < 41, np.inf, np.arange(80.0))])
def test_constant_and_mostly_infinite_measures_are_left_out(table: pd.DataFrame, values: np.ndarray) -> None:
    assert combination_features(table.assign(**{"m.norm": values}), ["m.norm"]).shape == (80, 0)
