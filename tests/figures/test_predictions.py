"""Predicted against actual gaps, against naive fits; the drawing on axes."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from matplotlib.axes import Axes

from widemargin.errors import InvalidInputError
from widemargin.figures import draw_predicted_gaps, predicted_gaps
from widemargin.prediction import Ablation

MEDIANS = Ablation("medians", "quartiles", statistic="median")
COLUMNS = ["quartiles/input/median", "quartiles/conv/median"]


def zoo_like(num_configurations: int = 7, repeats: int = 2) -> pd.DataFrame:
    num = num_configurations * repeats
    rng = np.random.default_rng(0)
    table = pd.DataFrame(np.exp(rng.normal(size=(num, 2))), columns=COLUMNS, index=[f"run{i}" for i in range(num)])
    table["gap"] = 0.2 + np.log(table[COLUMNS]).to_numpy() @ [0.05, -0.1] + 0.01 * rng.normal(size=num)
    table["configuration"] = [f"c{i // repeats}" for i in range(num)]
    table["quartiles/input/q1"] = -1.0
    table["why_left_out"] = ""
    return table


def test_fitted_gaps_and_intervals_are_those_of_statsmodels() -> None:
    table = zoo_like()
    design = sm.add_constant(np.log(table[COLUMNS].to_numpy()))
    oracle = sm.OLS(table["gap"].to_numpy(), design).fit()
    found = predicted_gaps(table, MEDIANS)
    np.testing.assert_allclose(found.fitted, oracle.fittedvalues, rtol=1e-9)
    interval = oracle.get_prediction(design).conf_int(obs=True, alpha=0.1)
    np.testing.assert_allclose(found.half_interval, np.diff(interval)[:, 0] / 2, rtol=1e-8)
    np.testing.assert_array_equal(found.actual, table["gap"])
    assert found.runs == tuple(table.index)


def test_each_configuration_is_predicted_without_any_of_its_networks() -> None:
    table = zoo_like()
    design = sm.add_constant(np.log(table[COLUMNS].to_numpy()))
    expected = np.empty(len(table))
    for configuration in set(table["configuration"]):
        out = (table["configuration"] == configuration).to_numpy()
        oracle = sm.OLS(table["gap"].to_numpy()[~out], design[~out]).fit()
        expected[out] = oracle.predict(design[out])
    np.testing.assert_allclose(predicted_gaps(table, MEDIANS).left_out, expected, rtol=1e-8)


def test_runs_that_are_left_out_are_not_predicted() -> None:
    table = zoo_like()
    strange = table.iloc[:2].assign(why_left_out="its training diverged", gap=np.nan)
    strange.index = pd.Index(["strange0", "strange1"])
    found = predicted_gaps(pd.concat([strange, table]), MEDIANS)
    assert found.runs == tuple(table.index)
    np.testing.assert_allclose(found.fitted, predicted_gaps(table, MEDIANS).fitted)


def test_without_residuals_there_is_no_interval() -> None:
    found = predicted_gaps(zoo_like(3, 1), MEDIANS)
    assert np.isnan(found.half_interval).all()
    assert np.isfinite(found.left_out).all()


def test_one_configuration_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"at least 2 networks \(or groups\), got 1"):
        predicted_gaps(zoo_like().assign(configuration="same"), MEDIANS)


def test_networks_without_some_features_are_refused() -> None:
    table = zoo_like()
    table.loc[["run3", "run4"], COLUMNS[1]] = np.nan
    with pytest.raises(InvalidInputError) as caught:
        predicted_gaps(table, MEDIANS)
    assert str(caught.value) == (
        "predictions need the same features of every network, but 2 of 14 lack some of those of 'medians'. Networks "
        "whose layers have other names need a zoo of their own."
    )


def test_networks_without_any_features_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="but 14 of 14 lack some of those of 'moments'"):
        predicted_gaps(zoo_like(), Ablation("moments", "moments"))


def test_drawing_returns_the_axes_with_labels_and_one_point_a_network(ax: Axes) -> None:
    gaps = predicted_gaps(zoo_like(), MEDIANS)
    assert draw_predicted_gaps(ax, gaps) is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("actual gap (train − test accuracy)", "predicted gap")
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), np.column_stack([gaps.actual, gaps.left_out]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "prediction = actual",
        "networks, each left out of its fit",
    ]


def test_the_diagonal_spans_all_points(ax: Axes) -> None:
    gaps = predicted_gaps(zoo_like(), MEDIANS)
    (line,) = draw_predicted_gaps(ax, gaps).get_lines()
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    values = np.concatenate([gaps.actual, gaps.left_out])
    assert list(line.get_xdata()) == [values.min(), values.max()]
