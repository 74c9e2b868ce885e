"""Scores of anybody's table against naive regressions, and what is said of columns that have none."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold

from widemargin.errors import InvalidInputError
from widemargin.prediction import (
    Evaluation,
    MeasureScore,
    conditional_mutual_information,
    evaluate,
    granulated_kendall,
    permutation_p_values,
    r2,
    r2_interval,
    resamples_of,
    robust_sign_error,
)


def table_of(num_configurations: int = 15, repeats: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(num_configurations), repeats)
    effect = rng.normal(size=num_configurations)[number]
    return pd.DataFrame(
        {
            "gap": 0.2 + 0.05 * effect + 0.02 * rng.normal(size=len(number)),
            "hp.lr": 0.1 * (number % 3),
            "hp.norm": np.where(number % 2, "batch", None),
            "hp.depth": number // 6,
            "hp.seed": range(len(number)),
            "m.good": effect + 0.3 * rng.normal(size=len(number)),
            "m.poor": np.exp(rng.normal(size=len(number))),
        }
    )


def numbered(table: pd.DataFrame) -> np.ndarray:
    names = [f"{row['hp.lr']}, {row['hp.norm'] or 'none'}, {row['hp.depth']}" for _, row in table.iterrows()]
    order = sorted(set(names), key=lambda name: (name.split(", ")[0], name.split(", ")[1], name.split(", ")[2]))
    return np.array([order.index(name) for name in names])


def score_of(evaluation: Evaluation, name: str) -> MeasureScore:
    return next(score for score in evaluation.scores if score.name == name)


def test_scores_are_those_of_naive_regressions() -> None:
    table = table_of()
    found = score_of(evaluate(table), "m.good")
    X, gap, groups = table[["m.good"]].to_numpy(), table["gap"].to_numpy(), numbered(table)
    oracle = sm.OLS(gap, sm.add_constant(X)).fit()
    assert found.num_networks == 45
    assert found.r2 == pytest.approx(oracle.rsquared)
    assert found.adjusted_r2 == pytest.approx(oracle.rsquared_adj)
    assert found.mse == pytest.approx(oracle.ssr / 45)
    for name, splitter in (("kfold_r2", KFold), ("grouped_kfold_r2", GroupKFold)):
        scores, errors = [], np.zeros(45)
        for seed in range(10):
            predicted = np.empty(45)
            together = groups if splitter is GroupKFold else None
            for train, test in splitter(10, shuffle=True, random_state=seed).split(X, groups=together):
                predicted[test] = LinearRegression().fit(X[train], gap[train]).predict(X[test])
            scores.append(r2(gap, predicted))
            errors += (gap - predicted) ** 2 / 10
        assert getattr(found, name) == pytest.approx(np.mean(scores))
        interval = r2_interval(gap, errors, resamples_of(groups))
        assert getattr(found, f"{name}_interval") == pytest.approx(interval)
    assert found.spearman == pytest.approx(stats.spearmanr(X[:, 0], gap).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(X[:, 0], gap).statistic)


def test_scores_by_hyperparameter_are_those_of_each_measure_alone() -> None:
    table = table_of()
    table.loc[4, "m.good"], table.loc[9, "m.poor"] = np.nan, np.inf
    for score in evaluate(table, num_test=2000).scores:
        assert score.granulated_kendall == granulated_kendall(table, score.name)
        sign = 1 if score.kendall > 0 else -1
        assert score.sign_error == robust_sign_error(table, score.name, sign=sign, num_test=2000)
        directed = table.assign(**{score.name: sign * table[score.name]})
        assert score.conditional_mutual_information == conditional_mutual_information(directed, score.name)


def test_pearsons_correlation_is_that_of_finite_values() -> None:
    table = table_of()
    table.loc[4, "m.good"] = np.inf
    known = table.drop(index=4)
    expected = stats.pearsonr(known["m.good"], known["gap"]).statistic
    assert score_of(evaluate(table), "m.good").pearson == pytest.approx(expected)


def test_a_measure_is_judged_by_the_direction_of_tau_unless_another_is_expected() -> None:
    table = table_of()
    table["m.margin"] = -table["m.good"]
    found = evaluate(table)
    good, margin = score_of(found, "m.good"), score_of(found, "m.margin")
    assert (good.sign_error.sign, margin.sign_error.sign) == (1, -1)
    assert margin.sign_error.mean == pytest.approx(good.sign_error.mean)
    assert margin.conditional_mutual_information == good.conditional_mutual_information
    expected = score_of(evaluate(table, signs={"m.margin": 1}), "m.margin")
    assert expected.sign_error.mean == pytest.approx(1 - good.sign_error.mean)


def test_p_values_are_corrected_over_all_measures() -> None:
    table = table_of()
    found = {score.name: score for score in evaluate(table, num_permutations=199, seed=3).scores}
    values = table[["m.good", "m.poor"]].to_numpy().T
    good, poor = permutation_p_values(values, table["gap"].to_numpy(), numbered(table), num_permutations=199, seed=3)
    assert (found["m.good"].p_value, found["m.poor"].p_value) == (good, poor)
    assert good < 0.05 < poor
    assert found["m.good"].holm_p_value == found["m.good"].false_discovery_rate == pytest.approx(2 * good)
    assert found["m.poor"].holm_p_value == found["m.poor"].false_discovery_rate == pytest.approx(poor)


def test_ties_of_a_measure_are_counted() -> None:
    table = table_of().assign(**{"m.tied": [0.0] * 10 + list(range(35))})
    assert score_of(evaluate(table), "m.tied").note == "equal for 6% of all pairs of networks"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            {"hp.lr": 1, "hp.norm": 1, "hp.depth": 1},
            "no hyperparameter varies: no scores that compare networks by them",
        ),
        (
            {},
            "3 of 18 combinations of hyperparameters have no network: granulated τ, conditional information and sign "
            "error rest on the others",
        ),
        ({"hp.depth": 1}, "fewer than 10 configurations: no intervals"),
        (
            {"hp.extra": [1] + [0] * 44},
            "2 of 16 configurations have as many repeats as no other: permutations leave their gaps in place",
        ),
        ({"gap": [0.1, 0.1, 0.2] * 15}, "gaps are equal for 55% of all pairs of networks"),
        ({"hp.lr": 0.1}, "number of test examples not known: in sign errors every difference of gaps counts"),
    ],
)
def test_what_to_know_of_a_table_is_said(change: dict[str, object], note: str) -> None:
    assert note in evaluate(table_of().assign(**change)).notes


def test_of_a_complete_grid_nothing_needs_saying() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"hp.lr": np.arange(24) % 4, "hp.depth": np.arange(24) // 8, "num_test": 100})
    assert evaluate(table.assign(gap=rng.random(24), **{"m.norm": rng.random(24)})).notes == ()


def test_a_table_without_measures_that_have_scores_has_none() -> None:
    assert evaluate(table_of().assign(**{"m.good": 1.0, "m.poor": 1.0})).scores == ()


def test_every_interval_holds_its_score() -> None:
    for score in evaluate(table_of()).scores:
        told, error = score.conditional_mutual_information, score.sign_error
        for value, interval in (
            (score.granulated_kendall.value, score.granulated_kendall.interval),
            (told.value, told.interval),
            (error.mean, error.mean_interval),
            (score.pearson, score.pearson_interval),
        ):
            assert interval[0] <= value <= interval[1]
        for name in ("adjusted_r2", "kfold_r2", "grouped_kfold_r2", "spearman", "kendall"):
            low, high = getattr(score, f"{name}_interval")
            assert low < getattr(score, name) < high


def test_the_best_on_left_out_configurations_comes_first() -> None:
    scores = evaluate(table_of()[["gap", "m.poor", "hp.lr", "hp.norm", "hp.depth", "m.good"]]).scores
    assert [score.name for score in scores] == ["m.good", "m.poor"]


def test_equal_hyperparameters_make_a_configuration_and_seeds_do_not_tell_apart() -> None:
    found = evaluate(table_of())
    assert found.num_configurations == 15
    assert found.hyperparameters == ("hp.lr", "hp.norm", "hp.depth")


def test_without_hyperparameters_every_network_is_a_configuration() -> None:
    found = evaluate(table_of().drop(columns=["hp.lr", "hp.norm", "hp.depth", "hp.seed"]))
    assert (found.num_configurations, found.hyperparameters) == (45, ())
    assert score_of(found, "m.good").grouped_kfold_r2 is not None


def test_columns_are_named_or_matched() -> None:
    table = table_of().rename(columns={"gap": "gen_gap", "hp.lr": "lr", "hp.norm": "norm", "m.good": "margin [q1]"})
    found = evaluate(
        table, gap="gen_gap", hyperparameters=["lr", "no*", "hp.depth"], measures=["margin [q1]", "*.poor"]
    )
    assert found.num_configurations == 15
    assert {score.name for score in found.scores} == {"margin [q1]", "m.poor"}
    assert found.gap == "gen_gap"


def test_infinite_values_count_in_scores_of_order_and_missing_ones_nowhere() -> None:
    table, whole = table_of(), table_of()
    table.loc[[3, 10], "m.good"] = np.inf
    table.loc[11, "m.good"] = np.nan
    score = score_of(evaluate(table), "m.good")
    assert (score.num_networks, score.num_ranked) == (42, 44)
    assert score.note == "infinite for 2 of 45 networks; missing for 1 of 45 networks"
    expected = score_of(evaluate(whole.drop(index=[3, 10, 11])), "m.good")
    assert score.grouped_kfold_r2 == pytest.approx(expected.grouped_kfold_r2)
    assert score.pearson == pytest.approx(expected.pearson)
    known = table.drop(index=11).replace({"m.good": {np.inf: 1e9}})
    assert score.kendall == pytest.approx(stats.kendalltau(known["m.good"], known["gap"]).statistic)
    assert score.spearman == pytest.approx(stats.spearmanr(known["m.good"], known["gap"]).statistic)
    assert score_of(evaluate(table), "m.poor").num_networks == 45


def test_networks_without_a_gap_are_left_out_and_counted() -> None:
    table = table_of()
    table.loc[[0, 7], "gap"] = [np.nan, np.inf]
    found = evaluate(table)
    assert (found.num_networks, found.num_without_gap) == (43, 2)
    assert found.scores == evaluate(table_of().drop(index=[0, 7])).scores


def test_columns_without_scores_are_named_with_their_reason() -> None:
    table = table_of().assign(
        **{
            "hp.same": 1,
            "m.same": [2.0] * 44 + [np.nan],
            "m.text": "high",
            "m.mixed": ["1"] * 44 + ["diverged"],
            "m.rare": [1.0, 2.0] + [np.inf] * 43,
            "m.empty": None,
        }
    )
    found = evaluate(table, measures=["m.*", "gap"])
    assert found.left_out == {
        "gap": "the gap itself",
        "m.same": "the same for all networks",
        "m.text": "not a number: 'high'",
        "m.mixed": "not a number: 'diverged'",
        "m.rare": "finite for only 2 of 45 networks",
        "m.empty": "always missing",
    }
    assert "hp.same" not in found.hyperparameters


def test_hyperparameters_that_are_the_same_are_named_where_they_were_chosen() -> None:
    table = table_of().assign(**{"hp.same": 1})
    assert evaluate(table, hyperparameters=["hp.*"]).left_out == {"hp.same": "the same for all networks"}


@pytest.mark.parametrize("factor", [1e200, -1e-200])
def test_the_unit_of_a_measure_does_not_matter(factor: float) -> None:
    table = table_of()
    found = score_of(evaluate(table.assign(**{"m.good": factor * table["m.good"]})), "m.good")
    expected = score_of(evaluate(table), "m.good")
    assert found.grouped_kfold_r2 == pytest.approx(expected.grouped_kfold_r2)
    assert found.kendall == pytest.approx(np.sign(factor) * expected.kendall)


def test_truth_values_are_numbers() -> None:
    table = table_of()
    found = score_of(evaluate(table.assign(**{"m.good": table["m.good"] > 0})), "m.good")
    assert found.spearman == pytest.approx(stats.spearmanr(table["m.good"] > 0, table["gap"]).statistic)


def test_the_answer_can_be_written_as_json() -> None:
    answer = json.loads(json.dumps(evaluate(table_of(4, 1)).as_dict(), allow_nan=False))
    assert answer["num_configurations"] == 4
    assert answer["scores"][0]["kendall_interval"] is None


def test_a_missing_gap_is_refused_with_names_like_it() -> None:
    with pytest.raises(InvalidInputError) as caught:
        evaluate(table_of().rename(columns={"gap": "gen_gap"}))
    assert str(caught.value) == ("the gap's column must be one of the table's, got 'gap'. Columns like it: gen_gap.")


@pytest.mark.parametrize("columns", [{"hyperparameters": ["hp.lrs"]}, {"measures": ["hp.lrs"]}])
def test_a_column_that_is_not_there_is_refused_with_names_like_it(columns: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        evaluate(table_of(), **columns)
    assert str(caught.value).startswith(
        "'hp.lrs' must name one of the table's columns or match some, and does not. Columns like it: hp.lr"
    )


def test_a_pattern_far_from_all_names_is_refused_with_the_first_of_them() -> None:
    with pytest.raises(InvalidInputError, match=r"Columns like it: gap, hp\.lr, hp\.norm, hp\.depth, hp\.seed\."):
        evaluate(table_of(), measures=["quartiles/*"])


def test_a_gap_in_words_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^the gap must be numbers, but column 'gap' holds type \w+\.$"):
        evaluate(table_of().assign(gap="large"))


def test_fewer_than_three_gaps_are_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        evaluate(table_of().assign(gap=[0.1, 0.2, np.inf] + [np.nan] * 42))
    assert str(caught.value) == "scores need at least 3 networks with a finite gap, got 2 of 45."


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"got 'gap'\. The table has no columns\."):
        evaluate(pd.DataFrame())


@pytest.mark.shared_data
def test_a_published_table_of_380_networks_has_its_scores() -> None:
    path = Path(__file__).parents[3] / "shared/data/tables/nin_cifar10_measures.csv"
    if not path.exists():
        pytest.skip("the published table is not there")
    table = pd.read_csv(path)
    found = evaluate(table, gap="gen_gap", measures=["m.log_sum_of_fro*", "m.pos_margin"], num_resamples=100)
    assert (found.num_networks, found.num_configurations) == (380, 128)
    assert not {"hp.batch_norm", "hp.dropout_prob"} & set(found.hyperparameters)  # the same for all networks
    values = table["m.log_sum_of_fro_over_pos_margin"]
    best = score_of(found, "m.log_sum_of_fro_over_pos_margin")
    assert (best.num_networks, best.num_ranked) == (np.isfinite(values).sum(), 380)
    assert best.note == "infinite for 17 of 380 networks"
    oracle = stats.kendalltau(values.replace(np.inf, 1e9), table["gen_gap"])
    assert best.kendall == pytest.approx(oracle.statistic)
    assert best.granulated_kendall == granulated_kendall(table, best.name, gap="gen_gap", num_resamples=100)
    assert set(best.sign_error.per_hyperparameter) == {"hp.lr", "hp.batch_size", "hp.model_depth"}


def test_too_few_permutations_to_find_anything_are_told() -> None:
    table = table_of()
    num = sum(column.startswith("m.") for column in table)
    notes = evaluate(table, num_permutations=9).notes
    assert (
        f"with 9 permutations no p of {num} measures can fall below {num / 10:.2g} once corrected: ask for more"
        in notes
    )
    assert not any("permutations no p" in note for note in evaluate(table, num_permutations=999).notes)
