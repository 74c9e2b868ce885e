"""The regression against statsmodels, scikit-learn and simulation."""

from collections.abc import Iterator
from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.prediction import GapPredictor

FORMS = [("identity", None), ("identity", "ridge"), ("log", None), ("log", "ridge")]


def drawn(num_networks: int = 30, num_features: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positive features of different sizes, and gaps that are linear in their logarithms but for noise."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(size=(num_networks, num_features)) * np.logspace(-1, 0, num_features) + np.arange(num_features)
    gap = 0.3 + logs @ rng.normal(size=num_features) * 0.1 + 0.02 * rng.normal(size=num_networks)
    return np.exp(logs), gap


def ordinary(X: np.ndarray, y: np.ndarray) -> Any:
    return sm.OLS(y, sm.add_constant(np.log(X))).fit()


def test_coefficients_are_those_of_statsmodels() -> None:
    X, y = drawn()
    predictor, oracle = GapPredictor().fit(X, y), ordinary(X, y)
    np.testing.assert_allclose([predictor.intercept_, *predictor.coef_], oracle.params, rtol=1e-9)
    assert predictor.alpha_ == 0
    assert predictor.num_parameters_ == pytest.approx(X.shape[1])


def test_residual_deviation_is_that_of_statsmodels() -> None:
    X, y = drawn()
    assert GapPredictor().fit(X, y).residual_std_ == pytest.approx(np.sqrt(ordinary(X, y).mse_resid), rel=1e-9)


def test_score_is_the_r2_of_statsmodels() -> None:
    X, y = drawn()
    assert GapPredictor().fit(X, y).score(X, y) == pytest.approx(ordinary(X, y).rsquared, rel=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_prediction_intervals_are_those_of_statsmodels(level: float) -> None:
    X, y = drawn()
    new, _ = drawn(7, seed=1)
    expected = ordinary(X, y).get_prediction(sm.add_constant(np.log(new))).conf_int(obs=True, alpha=1 - level)
    np.testing.assert_allclose(
        np.stack(GapPredictor().fit(X, y).predict_interval(new, level), 1), expected, rtol=1e-8
    )


def test_identity_takes_features_as_they_are() -> None:
    X, y = drawn()
    X = X - X.mean(axis=0)
    expected = sm.OLS(y, sm.add_constant(X)).fit().predict(sm.add_constant(X))
    np.testing.assert_allclose(GapPredictor("identity").fit(X, y).predict(X), expected, rtol=1e-9)


@pytest.mark.parametrize("num_networks", [6, 15, 60])
def test_ridge_is_that_of_scikit_learn_on_standardized_features(num_networks: int) -> None:
    X, y = drawn(num_networks, num_features=10)
    predictor = GapPredictor(regularization="ridge").fit(X, y)
    oracle = make_pipeline(StandardScaler(), RidgeCV(alphas=GapPredictor().alphas)).fit(np.log(X), y)
    assert predictor.alpha_ == pytest.approx(oracle[-1].alpha_)
    np.testing.assert_allclose(predictor.predict(X), oracle.predict(np.log(X)), rtol=1e-8)
    np.testing.assert_allclose(predictor.coef_ * np.log(X).std(axis=0), oracle[-1].coef_, rtol=1e-6, atol=1e-12)


def test_ridge_chooses_only_from_the_strengths_handed_over() -> None:
    X, y = drawn()
    assert GapPredictor(regularization="ridge", alphas=(7.0,)).fit(X, y).alpha_ == 7.0


def test_ridge_counts_its_parameters_by_the_trace_of_the_hat_matrix() -> None:
    X, y = drawn(12, num_features=5)
    predictor = GapPredictor(regularization="ridge", alphas=(3.0,)).fit(X, y)
    Z = StandardScaler().fit_transform(np.log(X))
    hat = Z @ np.linalg.inv(Z.T @ Z + 3.0 * np.eye(5)) @ Z.T
    assert predictor.num_parameters_ == pytest.approx(np.trace(hat))


def test_ridge_intervals_follow_from_the_rows_of_the_hat_matrix() -> None:
    from scipy.stats import t

    X, y = drawn(12, num_features=5)
    predictor = GapPredictor(regularization="ridge", alphas=(3.0,)).fit(X, y)
    Z = StandardScaler().fit_transform(np.log(X))
    hat = 1 / 12 + Z @ np.linalg.inv(Z.T @ Z + 3.0 * np.eye(5)) @ Z.T
    freedom = 12 - np.trace(hat)
    std = np.sqrt(((y - hat @ y) ** 2).sum() / freedom)
    half = t.ppf(0.95, freedom) * std * np.sqrt(1 + (hat**2).sum(axis=1))
    lower, upper = predictor.predict_interval(X)
    np.testing.assert_allclose(upper - predictor.predict(X), half, rtol=1e-8)
    np.testing.assert_allclose(predictor.predict(X) - lower, half, rtol=1e-8)


def test_nine_of_ten_new_gaps_lie_in_the_90_percent_interval() -> None:
    rng = np.random.default_rng(0)
    num_trials, num_inside = 600, 0
    for _ in range(num_trials):
        X = np.exp(rng.normal(size=(9, 3)))
        y = 0.2 + np.log(X) @ [0.1, -0.2, 0.0] + 0.05 * rng.normal(size=9)
        lower, upper = GapPredictor().fit(X[:8], y[:8]).predict_interval(X[8:])
        num_inside += bool(lower[0] <= y[8] <= upper[0])
    assert abs(num_inside / num_trials - 0.9) < 3 * np.sqrt(0.9 * 0.1 / num_trials)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    factors=st.lists(st.floats(1e-12, 1e12), min_size=4, max_size=4), regularization=st.sampled_from([None, "ridge"])
)
def test_predictions_from_logarithms_ignore_the_units_of_features(factors: list[float], regularization: Any) -> None:
    X, y = drawn()
    plain = GapPredictor(regularization=regularization).fit(X, y)
    scaled = GapPredictor(regularization=regularization).fit(X * factors, y)
    np.testing.assert_allclose(scaled.predict(X * factors), plain.predict(X), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(scaled.coef_, plain.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-15, 1e-6, 1e15])
@pytest.mark.parametrize("regularization", [None, "ridge"])
def test_predictions_from_plain_features_ignore_their_units(factor: float, regularization: Any) -> None:
    X, y = drawn()
    plain = GapPredictor("identity", regularization).fit(X, y)
    scaled = GapPredictor("identity", regularization).fit(X * factor, y)
    np.testing.assert_allclose(scaled.predict(X * factor), plain.predict(X), rtol=1e-7)


@pytest.mark.parametrize(("feature_transform", "regularization"), FORMS)
def test_the_order_of_networks_changes_nothing(feature_transform: Any, regularization: Any) -> None:
    X, y = drawn()
    order = np.random.default_rng(0).permutation(len(y))
    plain = GapPredictor(feature_transform, regularization).fit(X, y)
    shuffled = GapPredictor(feature_transform, regularization).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.predict(X), plain.predict(X), rtol=1e-8)


def test_a_doubled_feature_shares_its_weight_and_leaves_predictions_alone() -> None:
    X, y = drawn()
    doubled = np.column_stack([X, X[:, 0]])
    predictor = GapPredictor().fit(doubled, y)
    np.testing.assert_allclose(predictor.predict(doubled), GapPredictor().fit(X, y).predict(X), rtol=1e-8)
    assert predictor.num_parameters_ == pytest.approx(X.shape[1])
    assert predictor.coef_[0] == pytest.approx(predictor.coef_[-1])


def test_intervals_count_a_doubled_feature_once() -> None:
    X, y = drawn()
    expected = GapPredictor().fit(X, y).predict_interval(X)
    found = GapPredictor().fit(np.column_stack([X, X[:, 0]]), y).predict_interval(np.column_stack([X, X[:, 0]]))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("constant", [1.0, 0.1, 1e6 / 3])
@pytest.mark.parametrize(("feature_transform", "regularization"), FORMS)
def test_a_constant_feature_has_no_weight(constant: float, feature_transform: Any, regularization: Any) -> None:
    X, y = drawn()
    rounding = constant * (1 + 2e-16 * (np.arange(len(y)) % 2))
    for column in (np.full(len(y), constant), rounding):
        predictor = GapPredictor(feature_transform, regularization).fit(np.column_stack([X, column]), y)
        assert predictor.coef_[-1] == 0
        np.testing.assert_allclose(
            predictor.predict(np.column_stack([X, column])),
            GapPredictor(feature_transform, regularization).fit(X, y).predict(X),
            rtol=1e-9,
        )


def test_only_constant_features_predict_the_mean_gap() -> None:
    y = np.array([0.1, 0.2, 0.6])
    np.testing.assert_allclose(GapPredictor().fit(np.ones((3, 2)), y).predict(np.full((1, 2), 5.0)), y.mean())


def test_more_features_than_networks_are_fitted_exactly_with_the_smallest_weights() -> None:
    X, y = drawn(6, num_features=10)
    predictor = GapPredictor().fit(X, y)
    Z = StandardScaler().fit_transform(np.log(X))
    np.testing.assert_allclose(predictor.predict(X), y, rtol=1e-8)
    np.testing.assert_allclose(
        predictor.coef_ * np.log(X).std(axis=0),
        np.linalg.pinv(Z, rcond=1e-10) @ (y - y.mean()),
        rtol=1e-6,
        atol=1e-10,
    )
    assert np.isnan(predictor.residual_std_)


@pytest.mark.parametrize("num_networks", [3, 5])
def test_least_squares_without_residuals_refuses_intervals_and_says_so(num_networks: int) -> None:
    X, y = drawn(num_networks)
    with pytest.raises(TooFewExamplesError) as caught:
        GapPredictor().fit(X, y).predict_interval(X)
    assert str(caught.value) == (
        f"intervals need more networks than fitted numbers, got {num_networks} networks for {num_networks} numbers. "
        "Fit on more networks or with regularization='ridge'."
    )


def test_ridge_gives_intervals_where_least_squares_cannot() -> None:
    X, y = drawn(6, num_features=10)
    lower, upper = GapPredictor(regularization="ridge", alphas=(1.0,)).fit(X, y).predict_interval(X)
    assert np.all(upper > lower)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 90.0, float("nan")])
def test_levels_outside_of_0_and_1_are_refused(level: float) -> None:
    X, y = drawn()
    with pytest.raises(InvalidInputError, match=r"^level must be between 0 and 1, got "):
        GapPredictor().fit(X, y).predict_interval(X, level)


def test_unknown_transforms_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^feature_transform must be 'log' or 'identity', got 'sqrt'\.$"):
        GapPredictor().set_params(feature_transform="sqrt").fit(*drawn())


def test_unknown_regularizations_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^regularization must be None or 'ridge', got 'lasso'\.$"):
        GapPredictor().set_params(regularization="lasso").fit(*drawn())


@pytest.mark.parametrize("value", [0.0, -0.25])
def test_a_feature_without_a_logarithm_is_named_by_its_column(value: float) -> None:
    X, y = drawn()
    table = pd.DataFrame(X, columns=["input/q1", "input/median", "conv/q1", "conv/median"])
    table.loc[3, "conv/q1"] = value
    with pytest.raises(InvalidInputError) as caught:
        GapPredictor().fit(table, y)
    assert str(caught.value) == (
        f"features must be positive to have a logarithm, but feature conv/q1 goes down to {value:.3g}. Keep correct "
        "examples only (keep='correct', fences='whiskers'), or use feature_transform='identity'."
    )


def test_a_feature_without_a_logarithm_is_named_by_its_number_in_an_array() -> None:
    X, y = drawn()
    X[3, 2] = -1.0
    with pytest.raises(InvalidInputError, match=r"but feature number 2 goes down to -1\. "):
        GapPredictor().fit(X, y)


def test_a_feature_without_a_logarithm_is_refused_in_prediction_too() -> None:
    X, y = drawn()
    predictor = GapPredictor().fit(pd.DataFrame(X, columns=list("abcd")), y)
    with pytest.raises(InvalidInputError, match=r"but feature b goes down to 0\. "):
        predictor.predict(pd.DataFrame([[1.0, 0.0, 1.0, 1.0]], columns=list("abcd")))


def test_predictions_need_a_fit() -> None:
    with pytest.raises(NotFittedError, match="This GapPredictor instance is not fitted yet"):
        GapPredictor().predict(np.ones((1, 2)))


def test_columns_in_another_order_are_refused() -> None:
    X, y = drawn()
    predictor = GapPredictor().fit(pd.DataFrame(X, columns=list("abcd")), y)
    with pytest.raises(ValueError, match="feature names should match"):
        predictor.predict(pd.DataFrame(X, columns=list("badc")))


def test_a_table_is_fitted_as_its_values_and_its_columns_are_remembered() -> None:
    X, y = drawn()
    table = pd.DataFrame(X, columns=list("abcd"))
    predictor = GapPredictor().fit(table, y)
    assert list(predictor.feature_names_in_) == list("abcd")
    np.testing.assert_allclose(predictor.predict(table), GapPredictor().fit(X, y).predict(X), rtol=1e-10)


def test_a_clone_has_the_same_parameters_and_no_fit() -> None:
    predictor = GapPredictor("identity", "ridge", (1.0, 2.0)).fit(*drawn())
    twin = clone(predictor)
    assert twin.get_params() == {"feature_transform": "identity", "regularization": "ridge", "alphas": (1.0, 2.0)}
    assert not hasattr(twin, "coef_")


def test_works_inside_a_grid_search() -> None:
    search = GridSearchCV(GapPredictor(), {"feature_transform": ["identity", "log"]}, cv=3).fit(*drawn(60))
    assert search.best_params_ == {"feature_transform": "log"}


def test_is_no_transformer_in_the_eyes_of_scikit_learn() -> None:
    assert not hasattr(GapPredictor(), "transform")
    assert not hasattr(make_pipeline(GapPredictor()), "transform")


class LogOfOneMore(GapPredictor):
    """The logarithm of 1 + x: what scikit-learn's checks call positive data holds zeros."""

    def _transformed(self, X: Any) -> Any:
        return super()._transformed(X + 1.0)


def expected_failures(estimator: GapPredictor) -> dict[str, str]:
    if estimator.feature_transform == "identity":
        return {}
    return {"check_positive_only_tag_during_fit": "says in its own words why values have no logarithm"}


@pytest.fixture
def _unchecked_types() -> Iterator[None]:
    """scikit-learn's checks hand over wrong types on purpose and want errors of their own for them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("_unchecked_types")
@parametrize_with_checks(
    [
        GapPredictor("identity"),
        GapPredictor("identity", "ridge"),
        LogOfOneMore("log"),
        LogOfOneMore("log", "ridge"),
    ],
    expected_failed_checks=expected_failures,
)
def test_keeps_the_conventions_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
