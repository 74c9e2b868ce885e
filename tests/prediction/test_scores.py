"""Scores against hand-worked numbers, statsmodels and a loop over folds."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold

from widemargin.errors import InvalidInputError
from widemargin.prediction import (
    GapPredictor,
    adjusted_r2,
    kfold_r2,
    left_out_predictions,
    mean_squared_error,
    r2,
)


def drawn(num_networks: int = 24, num_features: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(num_networks, num_features))
    return X, X @ rng.normal(size=num_features) + 0.5 * rng.normal(size=num_networks)


class Remembering(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predicts 1 for what it was fitted on, else 0; features are the networks' numbers."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Remembering":
        self.known_ = set(X[:, 0])
        self.num_fitted_ = len(X)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.array([float(x in self.known_) for x in X[:, 0]])


class Least(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predicts the smallest gap that it was fitted on, which tells which ones were left out."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Least":
        self.least_ = y.min()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.least_)


def test_r2_and_error_of_a_case_worked_by_hand() -> None:
    actual, predicted = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 3.0, 3.0, 4.0])
    assert r2(actual, predicted) == pytest.approx(1 - 5 / 14)
    assert mean_squared_error(actual, predicted) == pytest.approx(5 / 4)
    assert adjusted_r2(actual, predicted, 1) == pytest.approx(1 - (5 / 14) * 3 / 2)


def test_scores_of_a_least_squares_fit_are_those_of_statsmodels() -> None:
    X, y = drawn()
    oracle = sm.OLS(y, sm.add_constant(X)).fit()
    assert r2(y, oracle.fittedvalues) == pytest.approx(oracle.rsquared)
    assert adjusted_r2(y, oracle.fittedvalues, 3) == pytest.approx(oracle.rsquared_adj)
    assert mean_squared_error(y, oracle.fittedvalues) == pytest.approx(oracle.ssr / len(y))


def test_r2_is_one_for_perfect_and_zero_for_mean_predictions() -> None:
    _, y = drawn()
    assert r2(y, y) == 1
    assert r2(y, np.full_like(y, y.mean())) == pytest.approx(0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_r2_of_equal_gaps_does_not_exist(value: float) -> None:
    assert np.isnan(r2(np.full(3, value), np.array([0.1, 0.2, 0.3])))


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_r2_ignores_the_unit_and_the_origin_of_gaps(factor: float, shift: float) -> None:
    X, y = drawn()
    assert r2(factor * y + shift, factor * X[:, 0] + shift) == pytest.approx(r2(y, X[:, 0]), rel=1e-6)


@pytest.mark.parametrize("num_features", [4, 5])
def test_adjusted_r2_does_not_exist_without_degrees_of_freedom(num_features: int) -> None:
    _, y = drawn(5)
    assert np.isnan(adjusted_r2(y, y, num_features))
    assert np.isfinite(adjusted_r2(y, y, 3))


def test_adjusted_r2_of_pure_chance_is_zero_on_average() -> None:
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(300):
        X, y = rng.normal(size=(20, 5)), rng.normal(size=20)
        scores.append(adjusted_r2(y, LinearRegression().fit(X, y).predict(X), 5))
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(300)


def test_kfold_r2_is_that_of_a_loop_over_folds() -> None:
    X, y = drawn()
    values = []
    for seed in range(5, 8):
        predicted = np.empty_like(y)
        for train, test in KFold(10, shuffle=True, random_state=seed).split(X):
            design = np.column_stack([np.ones(len(train)), X[train]])
            weights = np.linalg.lstsq(design, y[train], rcond=None)[0]
            predicted[test] = weights[0] + X[test] @ weights[1:]
        values.append(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    found = kfold_r2(GapPredictor("identity"), X, y, num_partitions=3, seed=5)
    assert found.value == pytest.approx(np.mean(values), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=1e-6)


def test_grouped_kfold_r2_is_that_of_a_loop_over_folds() -> None:
    X, y = drawn()
    groups = np.repeat(np.arange(8), 3)
    values = []
    for seed in range(2):
        predicted = np.empty_like(y)
        for train, test in GroupKFold(4, shuffle=True, random_state=seed).split(X, groups=groups):
            predicted[test] = LinearRegression().fit(X[train], y[train]).predict(X[test])
        values.append(r2(y, predicted))
    found = kfold_r2(GapPredictor("identity"), X, y, groups=groups, num_folds=4, num_partitions=2)
    assert found.value == pytest.approx(np.mean(values), rel=1e-9)


def test_one_partition_has_no_standard_error() -> None:
    assert kfold_r2(GapPredictor("identity"), *drawn(), num_partitions=1).standard_error is None


def test_as_many_folds_as_networks_leave_out_one_at_a_time() -> None:
    X, y = drawn(8)
    expected = [
        LinearRegression().fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[i : i + 1])[0] for i in range(8)
    ]
    np.testing.assert_allclose(left_out_predictions(GapPredictor("identity"), X, y), expected, rtol=1e-9)


def test_no_network_is_predicted_by_a_fit_that_has_seen_it() -> None:
    numbers = np.arange(25.0)[:, None]
    assert not left_out_predictions(Remembering(), numbers, np.arange(25.0)).any()


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    groups=st.lists(st.integers(0, 6), min_size=6, max_size=30).filter(
        lambda groups: len(groups) - max(groups.count(g) for g in groups) >= 2 and len(set(groups)) > 2
    ),
    seed=st.integers(0, 5),
)
def test_groups_never_straddle_folds(groups: list[int], seed: int) -> None:
    names = np.array([f"configuration {group}" for group in groups])
    numbers = np.array(groups, dtype=float)[:, None]
    assert not left_out_predictions(
        Remembering(), numbers, np.arange(len(groups)) * 1.0, groups=names, seed=seed
    ).any()


def test_fewer_groups_than_folds_are_left_out_one_at_a_time() -> None:
    groups = np.array(["c", "a", "a", "b", "c", "b"])
    gap = np.array([0.0, 3.0, 4.0, 1.0, 2.0, 5.0])
    found = left_out_predictions(Least(), np.zeros((6, 1)), gap, groups=groups)
    np.testing.assert_array_equal(found, [gap[groups != group].min() for group in groups])


def test_other_seeds_draw_other_folds_and_the_same_seed_the_same() -> None:
    X, y = drawn()
    first, again, other = (left_out_predictions(GapPredictor("identity"), X, y, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_predictor_handed_over_stays_unfitted() -> None:
    predictor = GapPredictor("identity")
    kfold_r2(predictor, *drawn(), num_partitions=2)
    assert not hasattr(predictor, "coef_")


def test_a_single_network_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        kfold_r2(GapPredictor("identity"), np.ones((1, 2)), np.ones(1))
    assert str(caught.value) == (
        "cross-validation needs at least 2 networks (or groups), got 1. Train more networks."
    )


def test_a_single_group_is_refused() -> None:
    X, y = drawn()
    with pytest.raises(
        InvalidInputError, match=r"^cross-validation needs at least 2 networks \(or groups\), got 1\."
    ):
        left_out_predictions(GapPredictor("identity"), X, y, groups=["a"] * len(y))


@pytest.mark.parametrize(("groups", "num_folds"), [(None, 2), (["a", "a", "b"], 10), (["a", "b", "c"], 2)])
def test_folds_that_leave_one_network_to_fit_on_are_refused(groups: list[str] | None, num_folds: int) -> None:
    X, y = drawn(3)
    with pytest.raises(InvalidInputError) as caught:
        left_out_predictions(GapPredictor("identity"), X, y, groups=groups, num_folds=num_folds)
    assert str(caught.value) == (
        "cross-validation must leave at least 2 networks to fit on, but one of its folds leaves 1 of 3. Train more "
        "networks, or use more folds."
    )


def test_two_networks_are_too_few_to_leave_one_out() -> None:
    with pytest.raises(InvalidInputError, match="one of its folds leaves 1 of 2"):
        kfold_r2(GapPredictor("identity"), *drawn(2))
