"""Leverage against least squares by statsmodels, and how often networks of the same kind are called strangers."""

import numpy as np
import pytest
import statsmodels.api as sm

from widemargin.prediction.seen_features import SeenFeatures


def drawn(num: int, seed: int = 0, num_features: int = 4) -> np.ndarray:
    mixing = np.random.default_rng(9).normal(size=(num_features, num_features))
    return np.random.default_rng(seed).normal(size=(num, num_features)) @ mixing + 3.0


def test_leverages_are_the_diagonal_of_the_hat_matrix() -> None:
    features = drawn(30)
    expected = sm.OLS(np.zeros(30), sm.add_constant(features)).fit().get_influence().hat_matrix_diag
    np.testing.assert_allclose(SeenFeatures.of(features).leverages(features), expected, rtol=1e-9)


def test_leverage_is_one_over_n_plus_the_squared_mahalanobis_distance_over_n() -> None:
    features, new = drawn(30), drawn(5, seed=1)
    inverse = np.linalg.inv(np.cov(features.T, ddof=0))
    expected = [(1 + (x - features.mean(0)) @ inverse @ (x - features.mean(0))) / 30 for x in new]
    np.testing.assert_allclose(SeenFeatures.of(features).leverages(new), expected, rtol=1e-9)


def test_the_greatest_leverage_is_that_of_networks_left_out() -> None:
    features = drawn(20)
    left_out = []
    for i in range(20):
        X = sm.add_constant(np.delete(features, i, axis=0))
        x = np.array([1.0, *features[i]])
        left_out.append(x @ np.linalg.inv(X.T @ X) @ x)
    assert SeenFeatures.of(features).greatest_leverage == pytest.approx(max(left_out))


def test_leverage_ignores_units_and_mixtures_of_features() -> None:
    features, new, mixing = drawn(30), drawn(5, seed=1), drawn(4, seed=2)
    plain, mixed = SeenFeatures.of(features), SeenFeatures.of(features @ mixing)
    np.testing.assert_allclose(mixed.leverages(new @ mixing), plain.leverages(new), rtol=1e-7)


def test_what_leaves_the_directions_that_were_seen_is_infinitely_far() -> None:
    features = drawn(30)
    features[:, 3] = features[:, 0] + features[:, 1]
    inside, outside = features[:1] + 0.01 * np.array([1, 0, 0, 1]), features[:1] + np.array([0, 0, 0, 0.1])
    seen = SeenFeatures.of(features)
    assert np.isfinite(seen.leverages(inside)).all()
    assert np.isinf(seen.leverages(outside)).all()


def test_with_as_few_networks_as_features_nothing_is_too_far() -> None:
    assert SeenFeatures.of(drawn(5)).greatest_leverage == np.inf


def test_a_tenth_of_the_range_beyond_it_is_allowed() -> None:
    seen = SeenFeatures.of(np.array([[0.0, 5.0], [1.0, 5.0], [0.4, 5.0]]))
    new = np.array([[1.09, 5.0], [1.11, 5.0], [-0.09, 5.0], [-0.11, 5.0], [0.5, 5.01]])
    np.testing.assert_array_equal(
        seen.strangers(new), [[False, False], [True, False], [False, False], [True, False], [False, True]]
    )


def test_a_constant_feature_has_no_spread_however_it_rounds() -> None:
    features = drawn(10)
    features[:, 1] = 0.1 + 1e-17 * np.arange(10)
    seen = SeenFeatures.of(features)
    assert seen.std[1] == 0
    np.testing.assert_array_equal(seen.standardized(features)[:, 1], 0)


def test_networks_of_the_same_kind_are_seldom_called_too_far() -> None:
    called = [
        SeenFeatures.of(drawn(50, seed)).leverages(drawn(1, 1000 + seed))
        > SeenFeatures.of(drawn(50, seed)).greatest_leverage
        for seed in range(400)
    ]
    assert abs(np.mean(called) - 1 / 51) < 3 * np.sqrt(1 / 51 / 400)
