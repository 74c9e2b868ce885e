"""The table of ablations against naive regressions, and what it says where a score does not exist."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from widemargin.errors import InvalidInputError
from widemargin.prediction import (
    ABLATIONS,
    Ablation,
    GapPredictor,
    Score,
    ablation_scores,
    features_of,
    r2_interval,
    resamples_of,
)

LAYERS = ("input", "blocks.0", "blocks.1", "head")
QUARTILES = ("lower_fence", "q1", "median", "q3", "upper_fence")
MOMENTS = ("mean", "moment_2", "moment_3", "moment_4", "moment_5")
BY_NAME = {ablation.name: ablation for ablation in ABLATIONS}
FULL = BY_NAME["full signature, least squares"]
MEDIANS = BY_NAME["medians only"]


def zoo_like(num_configurations: int = 15, repeats: int = 2) -> pd.DataFrame:
    """A table like that of a zoo: every other configuration fits its training set."""
    rng = np.random.default_rng(0)
    rows: dict[str, dict[str, Any]] = {}
    for i in range(num_configurations * repeats):
        configuration = i // repeats
        size = rng.normal()
        row: dict[str, Any] = {"why_left_out": "", "configuration": f"c{configuration}", "num_train": 100 + i}
        row["gap"] = 0.3 - 0.1 * size + 0.02 * rng.normal()
        row["train_accuracy"] = 1.0 if configuration % 2 else 0.9 + 0.01 * rng.random()
        row["train_loss"] = float(np.exp(size + rng.normal()))
        for layer in LAYERS:
            row |= {f"quartiles/{layer}/{name}": np.exp(size + rng.normal()) for name in QUARTILES}
            row |= {f"unnormalized_quartiles/{layer}/{name}": np.exp(rng.normal()) for name in QUARTILES}
            row |= {f"moments/{layer}/{name}": size + rng.normal() for name in MOMENTS}
        row |= {f"spectral_margin/{name}": np.exp(rng.normal() - 30) for name in QUARTILES}
        rows[f"run{i}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def score_of(table: pd.DataFrame, ablation: Ablation = MEDIANS, subset: str = "all") -> Score:
    return next(score for score in ablation_scores(table, [ablation]) if score.subset == subset)


def naive_left_out_r2(predictor: Any, X: np.ndarray, gap: np.ndarray, folds: Any) -> float:
    predicted = np.empty_like(gap)
    for train, test in folds:
        predicted[test] = predictor.fit(X[train], gap[train]).predict(X[test])
    return float(1 - ((gap - predicted) ** 2).sum() / ((gap - gap.mean()) ** 2).sum())


class StatsModels:
    """Least squares by statsmodels, looking like scikit-learn."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "StatsModels":
        self.oracle = sm.OLS(y, sm.add_constant(X, has_constant="add")).fit()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.oracle.predict(sm.add_constant(X, has_constant="add")))


@pytest.mark.parametrize("subset", ["all", "train accuracy ≥ 0.99"])
@pytest.mark.parametrize(
    ("name", "columns", "is_log", "is_ridge"),
    [
        ("medians only", [f"quartiles/{layer}/median" for layer in LAYERS], True, False),
        ("layer 2 alone", [f"quartiles/blocks.0/{name}" for name in QUARTILES], True, False),
        (
            "moments, not transformed, ridge",
            [f"moments/{layer}/{name}" for layer in LAYERS for name in MOMENTS],
            False,
            True,
        ),
        ("spectrally normalized margin", [f"spectral_margin/{name}" for name in QUARTILES], True, False),
        ("log training accuracy and loss", ["train_accuracy", "train_loss"], True, False),
        ("training accuracy and loss", ["train_accuracy", "train_loss"], False, False),
    ],
)
def test_scores_are_those_of_a_naive_computation(
    name: str, columns: list[str], is_log: bool, is_ridge: bool, subset: str
) -> None:
    table = zoo_like()
    found = score_of(table, BY_NAME[name], subset)
    chosen = table if subset == "all" else table[table["train_accuracy"] >= 0.99]
    X, gap = chosen[columns].to_numpy(dtype=float), chosen["gap"].to_numpy()
    X = np.log(X) if is_log else X
    X = X[:, X.std(axis=0) > 0]
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=GapPredictor().alphas))
    predictor: Any = ridge if is_ridge else StatsModels()
    predictor.fit(X, gap)
    residuals = gap - predictor.predict(X)
    plain = [
        naive_left_out_r2(predictor, X, gap, KFold(10, shuffle=True, random_state=seed).split(X))
        for seed in range(10)
    ]
    groups = chosen["configuration"]
    num_folds = min(10, groups.nunique())
    grouped = [
        naive_left_out_r2(
            predictor, X, gap, GroupKFold(num_folds, shuffle=True, random_state=seed).split(X, groups=groups)
        )
        for seed in range(10)
    ]
    assert found.num_networks == len(chosen)
    assert found.num_features == len(columns)
    assert found.mse == pytest.approx((residuals**2).mean())
    assert found.r2 == pytest.approx(1 - (residuals**2).mean() / gap.var())
    assert found.kfold_r2 == pytest.approx(np.mean(plain))
    assert found.kfold_r2_error == pytest.approx(np.std(plain, ddof=1) / np.sqrt(10), abs=1e-12)
    assert found.grouped_kfold_r2 == pytest.approx(np.mean(grouped))
    assert found.grouped_kfold_r2_error == pytest.approx(np.std(grouped, ddof=1) / np.sqrt(10), abs=1e-12)
    if not is_ridge and X.shape[1] == len(columns):
        assert found.adjusted_r2 == pytest.approx(sm.OLS(gap, sm.add_constant(X)).fit().rsquared_adj)


def test_ridge_is_adjusted_by_its_effective_parameters() -> None:
    table = zoo_like()
    ablation = BY_NAME["full signature, ridge"]
    found, features = score_of(table, ablation), features_of(ablation, table)
    fitted = GapPredictor("log", "ridge").fit(features, table["gap"])
    assert found.r2 is not None
    assert found.adjusted_r2 == pytest.approx(1 - (1 - found.r2) * 29 / (29 - fitted.num_parameters_))
    assert fitted.num_parameters_ < 20


def test_there_is_a_score_for_every_ablation_and_subset_in_order() -> None:
    scores = ablation_scores(zoo_like(8, 1), ABLATIONS[:3])
    assert [(score.subset, score.name) for score in scores] == [
        (subset, ablation.name) for subset in ("all", "train accuracy ≥ 0.99") for ablation in ABLATIONS[:3]
    ]


def test_names_of_ablations_are_unique() -> None:
    assert len(BY_NAME) == len(ABLATIONS)


def test_scores_say_what_went_into_them() -> None:
    table = zoo_like()
    layer = score_of(table, BY_NAME["layer 3 alone"])
    assert (layer.layers, layer.normalized, layer.regression, layer.transform, layer.is_baseline) == (
        "blocks.1",
        True,
        "least squares",
        "log",
        False,
    )
    raw = score_of(table, BY_NAME["not normalized, ridge"])
    assert (raw.layers, raw.normalized, raw.regression) == ("all", False, "ridge")
    trivial = score_of(table, BY_NAME["training accuracy and loss"])
    assert (trivial.layers, trivial.normalized, trivial.transform, trivial.is_baseline) == (
        "none",
        False,
        "identity",
        True,
    )
    assert score_of(table, BY_NAME["spectrally normalized margin"]).layers == "output"


def test_accuracy_and_loss_come_with_their_logarithms() -> None:
    table = zoo_like()
    found = features_of(BY_NAME["training accuracy, loss and their logarithms, ridge"], table)
    accuracy, loss = table["train_accuracy"], table["train_loss"]
    np.testing.assert_allclose(found.to_numpy(), np.stack([accuracy, loss, np.log(accuracy), np.log(loss)], axis=1))


def test_the_signature_is_put_beside_them() -> None:
    table = zoo_like()
    found = features_of(BY_NAME["full signature, accuracy, loss and their logarithms, ridge"], table)
    signature = features_of(BY_NAME["full signature, ridge"], table)
    trivial = features_of(BY_NAME["training accuracy, loss and their logarithms, ridge"], table)
    np.testing.assert_allclose(found.to_numpy(), np.hstack([np.log(signature), trivial]))


def test_what_has_no_logarithm_is_said_to_be_missing() -> None:
    table = zoo_like()
    table.loc[table.index[0], "train_loss"] = 0.0
    score = score_of(table, BY_NAME["training accuracy, loss and their logarithms, ridge"])
    assert score.note == "1 of the networks do not have these features"


def test_left_out_runs_do_not_count() -> None:
    table = zoo_like()
    strange = table.iloc[:3].assign(why_left_out="its training diverged", gap=np.nan, train_loss=np.nan)
    assert score_of(pd.concat([table, strange])) == score_of(table)


def test_a_table_without_margins_is_refused() -> None:
    table = zoo_like().assign(why_left_out="its training diverged")
    with pytest.raises(InvalidInputError) as caught:
        ablation_scores(table)
    assert str(caught.value) == (
        "scores need networks with a gap and margins, got none among 30 runs. See why_left_out in their table."
    )


def test_the_least_training_accuracy_of_a_subset_belongs_to_it() -> None:
    table = zoo_like(4).assign(train_accuracy=[0.0, 0.9, 0.989, 0.9899, 0.99, 0.99, 0.995, 1.0])
    assert score_of(table, subset="train accuracy ≥ 0.99").num_networks == 4


def has_no_score(score: Score) -> bool:
    values = (score.r2, score.adjusted_r2, score.kfold_r2, score.kfold_r2_error, score.grouped_kfold_r2, score.mse)
    return all(value is None for value in values)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("moments/", "moments"),
        ("spectral_margin/", "spectrally normalized margin"),
        ("quartiles/head", "layer 4 alone"),
        ("train_loss", "training accuracy and loss"),
        ("num_train", "log number of training examples"),
    ],
)
def test_missing_columns_are_noted(prefix: str, name: str) -> None:
    table = zoo_like()
    score = score_of(table.drop(columns=[column for column in table if column.startswith(prefix)]), BY_NAME[name])
    assert has_no_score(score)
    assert score.note == "these networks do not have these features"
    assert score.num_features == 0


def test_features_that_some_networks_lack_are_noted() -> None:
    table = zoo_like()
    table.loc[["run3", "run7"], "quartiles/input/median"] = np.nan
    score = score_of(table)
    assert has_no_score(score)
    assert score.note == "2 of the networks do not have these features"


def test_features_that_all_networks_lack_are_noted() -> None:
    table = zoo_like().assign(**{"quartiles/input/median": np.nan})
    assert score_of(table).note == "these networks do not have these features"


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_values_without_a_logarithm_are_noted(value: float) -> None:
    table = zoo_like()
    table.loc["run3", "quartiles/input/median"] = value
    score = score_of(table)
    assert has_no_score(score)
    assert score.note == "some values are not positive and have no logarithm"
    assert not has_no_score(score_of(table, BY_NAME["not transformed, ridge"]))


def test_one_configuration_has_no_grouped_score_and_says_so() -> None:
    score = score_of(zoo_like().assign(configuration="same"))
    assert score.note == "one configuration only: nothing to leave out as a group"
    assert score.grouped_kfold_r2 is None
    assert score.kfold_r2 is not None


def test_a_configuration_and_one_network_have_no_grouped_score_and_say_so() -> None:
    score = score_of(zoo_like().iloc[:3])
    assert score.note == "one network besides a configuration: nothing to fit when that is left out"
    assert score.grouped_kfold_r2 is None
    assert score.kfold_r2 is not None


@pytest.mark.parametrize("num_fitted", [0, 1, 2])
def test_a_tiny_subset_is_noted(num_fitted: int) -> None:
    table = zoo_like(4).assign(train_accuracy=[1.0] * num_fitted + [0.5] * (8 - num_fitted))
    score = score_of(table, subset="train accuracy ≥ 0.99")
    assert has_no_score(score)
    assert score.num_networks == num_fitted
    assert score.note == "fewer than three networks"
    assert score_of(table).kfold_r2 is not None


def test_fewer_than_ten_networks_per_feature_are_noted() -> None:
    assert score_of(zoo_like(20, 2)).note == ""
    assert score_of(zoo_like(13, 3)).note == "fewer than ten networks per feature"


def test_equal_gaps_have_no_r2_and_only_numbers() -> None:
    score = score_of(zoo_like().assign(gap=0.1))
    assert (score.r2, score.adjusted_r2, score.kfold_r2, score.kfold_r2_error) == (None,) * 4
    assert (score.grouped_kfold_r2, score.grouped_kfold_r2_error) == (None, None)
    assert score.mse == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("num_networks", [1, 2, 3, 5])
def test_every_table_has_scores_that_json_can_hold(num_networks: int) -> None:
    scores = ablation_scores(zoo_like(11, 2).iloc[:num_networks], ABLATIONS)
    assert json.loads(json.dumps([score.as_dict() for score in scores], allow_nan=False))
    assert all(score.note for score in scores if score.grouped_kfold_r2 is None)


def with_data(num_settings: int = 3) -> pd.DataFrame:
    """Data settings shift gaps and features by far more than networks differ within one."""
    table = zoo_like(24)
    setting = np.arange(len(table)) // 2 % num_settings
    table["data"] = [f"d{i}" for i in setting]
    table["gap"] += 5.0 * setting
    table[[name for name in table if name.startswith("quartiles/")]] *= np.exp(9.0 * setting)[:, None]
    table["num_train"] = 100 * (setting + 1)
    return table


def test_same_data_r2_is_that_of_deviations_from_each_settings_mean() -> None:
    table = with_data()
    X = np.log(table[[f"quartiles/{layer}/median" for layer in LAYERS]].to_numpy())
    gap = table["gap"].to_numpy().copy()
    for setting in set(table["data"]):
        rows = (table["data"] == setting).to_numpy()
        X[rows] -= X[rows].mean(axis=0)
        gap[rows] -= gap[rows].mean()
    groups = table["configuration"].to_numpy()
    expected = np.mean(
        [
            naive_left_out_r2(
                StatsModels(), X, gap, GroupKFold(10, shuffle=True, random_state=seed).split(X, gap, groups)
            )
            for seed in range(10)
        ]
    )
    score = score_of(table)
    assert score.same_data_r2 == pytest.approx(expected)
    assert score.grouped_kfold_r2 > 0.95  # settings alone would do for that
    assert score.same_data_r2 < 0.9


def test_what_is_the_same_for_all_networks_of_a_setting_knows_nothing_beyond_it() -> None:
    score = score_of(with_data(), BY_NAME["log number of training examples"])
    assert score.grouped_kfold_r2 > 0.9
    assert score.same_data_r2 == pytest.approx(0.0, abs=0.2)


def test_there_is_no_same_data_r2_where_settings_are_unknown_or_have_one_configuration_each() -> None:
    assert score_of(zoo_like()).same_data_r2 is None
    table = zoo_like()
    table["data"] = table["configuration"]
    assert score_of(table).same_data_r2 is None


# intervals and further baselines


def test_intervals_are_those_of_the_errors_of_left_out_predictions() -> None:
    table = zoo_like(20)
    score = score_of(table)
    X, gap = np.log(features_of(MEDIANS, table).to_numpy()), table["gap"].to_numpy()
    errors = np.zeros_like(gap)
    for seed in range(10):
        folds = GroupKFold(10, shuffle=True, random_state=seed).split(X, groups=table["configuration"])
        for train, test in folds:
            errors[test] += (gap[test] - StatsModels().fit(X[train], gap[train]).predict(X[test])) ** 2 / 10
    draws = resamples_of(table["configuration"])
    assert score.grouped_kfold_r2_interval == pytest.approx(r2_interval(gap, errors, draws))
    low, high = r2_interval(gap, (gap - StatsModels().fit(X, gap).predict(X)) ** 2, draws) or (np.nan, np.nan)
    factor = 39 / (39 - len(LAYERS))
    assert score.adjusted_r2_interval == pytest.approx((1 - (1 - low) * factor, 1 - (1 - high) * factor))


def test_intervals_hold_their_scores_and_are_drawn_by_seed() -> None:
    table = zoo_like(20)
    (score, *_), (again, *_), (other, *_) = (ablation_scores(table, [MEDIANS], seed=seed) for seed in (0, 0, 1))
    assert score == again
    assert score.kfold_r2_interval != other.kfold_r2_interval
    for name in ("adjusted_r2", "kfold_r2", "grouped_kfold_r2"):
        low, high = getattr(score, f"{name}_interval")
        assert low < getattr(score, name) < high


def test_few_configurations_have_no_intervals() -> None:
    score = score_of(zoo_like(9))
    assert score.grouped_kfold_r2 is not None
    assert (score.adjusted_r2_interval, score.kfold_r2_interval, score.grouped_kfold_r2_interval) == (None,) * 3


def test_scores_say_between_which_training_accuracies_their_networks_lie() -> None:
    table = zoo_like()
    assert score_of(table).train_accuracy_range == (table["train_accuracy"].min(), 1.0)
    assert score_of(table.assign(train_accuracy=0.5), subset="train accuracy ≥ 0.99").train_accuracy_range is None


def test_hyperparameters_are_one_hot_and_predict_what_they_decide() -> None:
    table = zoo_like(12, 2)
    number = np.arange(24) // 2
    table["hp.lr"], table["hp.norm"], table["hp.same"] = number % 3 * 0.1, np.where(number % 2, "batch", None), 1
    table["hp.seed"] = range(24)
    table["gap"] = np.array([0.1, 0.7, 0.3])[number % 3] + 0.05 * (number % 2)
    ablation = BY_NAME["hyperparameters, one-hot"]
    features = features_of(ablation, table)
    assert features.shape == (24, 3)
    assert set(features.to_numpy().ravel()) == {0.0, 1.0}
    score = score_of(table, ablation)
    assert (score.num_features, score.layers, score.is_baseline) == (3, "none", True)
    assert score.grouped_kfold_r2 == pytest.approx(1)


def test_one_configuration_has_no_hyperparameters_to_predict_from() -> None:
    score = score_of(zoo_like().assign(**{"hp.lr": 0.1}), BY_NAME["hyperparameters, one-hot"])
    assert score.note == "these networks do not have these features"


def test_features_that_say_the_same_are_counted_once() -> None:
    table = zoo_like()
    table["quartiles/input/median"] = table["quartiles/head/median"]
    X = np.log(table[[f"quartiles/{layer}/median" for layer in LAYERS[1:]]].to_numpy())
    oracle = sm.OLS(table["gap"].to_numpy(), sm.add_constant(X)).fit()
    assert score_of(table).adjusted_r2 == pytest.approx(oracle.rsquared_adj)
