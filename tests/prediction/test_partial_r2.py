"""Partial R² against regressions fitted one by one, and what it must not depend on."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from widemargin.errors import InvalidInputError
from widemargin.prediction import GapPredictor, evaluate, resamples_of
from widemargin.prediction.partial_r2 import PartialR2, partial_r2s

CONFIGURATIONS = np.arange(60) // 2
RESAMPLES = resamples_of(CONFIGURATIONS, num_resamples=200)


def table_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a measure, what is given, and gaps that depend on both and on noise."""
    rng = np.random.default_rng(seed)
    measure, accuracy, loss, noise = rng.normal(size=(4, 60))
    return measure, np.stack([accuracy, np.exp(loss)], axis=1), accuracy + loss + 0.7 * measure + 0.3 * noise


def test_is_the_share_of_squared_error_that_a_second_regression_saves() -> None:
    measure, given, gap = table_of(0)

    def squared_error(features: np.ndarray) -> float:
        errors = []
        for partition in range(10):
            predicted = np.empty(60)
            folds = GroupKFold(10, shuffle=True, random_state=partition).split(features, gap, CONFIGURATIONS)
            for train, test in folds:
                alpha = GapPredictor("identity", "ridge").fit(features[train], gap[train]).alpha_
                mean, std = features[train].mean(axis=0), features[train].std(axis=0)
                ridge = Ridge(alpha=alpha).fit((features[train] - mean) / std, gap[train])
                predicted[test] = ridge.predict((features[test] - mean) / std)
            errors.append(((gap - predicted) ** 2).sum())
        return float(np.mean(errors))

    logarithms = np.column_stack([given[:, 0], np.log(given[:, 1])])
    known = min(logarithms, np.column_stack([given, logarithms[:, 1]]), key=squared_error)
    found = partial_r2s(measure[None], given, gap, RESAMPLES)[0]
    assert found.value == pytest.approx(1 - squared_error(np.column_stack([known, measure])) / squared_error(known))
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]


def test_a_network_far_out_does_not_ruin_what_is_given() -> None:
    _, given, gap = table_of(8)
    given[:, 1] = np.exp(-10 + 0.1 * np.log(given[:, 1]))
    given[7, 1] = 0.2
    noise = np.random.default_rng(9).normal(size=60)
    assert abs(partial_r2s(noise[None], given, gap, RESAMPLES)[0].value) < 0.1


def test_measures_share_nothing_but_what_is_given() -> None:
    measure, given, gap = table_of(1)
    noise = np.random.default_rng(2).normal(size=60)
    together = partial_r2s(np.stack([measure, noise]), given, gap, RESAMPLES)
    alone = [partial_r2s(each[None], given, gap, RESAMPLES)[0] for each in (measure, noise)]
    assert together == alone
    assert together[0].value > 0.5 > 0.1 > together[1].value


def test_units_of_the_measure_and_of_the_gap_do_not_matter() -> None:
    measure, given, gap = table_of(3)
    found = partial_r2s(measure[None], given, gap, RESAMPLES)[0]
    scaled = partial_r2s(1e200 * measure[None], given * [1.0, 1e-8], 100 * gap, RESAMPLES)[0]
    assert scaled.value == pytest.approx(found.value)


def test_nothing_given_is_no_score() -> None:
    measure, _, gap = table_of(4)
    assert partial_r2s(measure[None], np.zeros((60, 0)), gap, RESAMPLES) == [PartialR2()]


def test_nothing_left_open_is_no_score() -> None:
    measure, given, _ = table_of(5)
    found = partial_r2s(measure[None], given, np.zeros(60), RESAMPLES)[0]
    assert found.value is None


def test_too_few_networks_to_fit_are_no_score() -> None:
    found = partial_r2s(np.arange(3.0)[None], np.ones((3, 1)), np.arange(3.0), resamples_of([0, 0, 1]))
    assert found == [PartialR2()]


def test_evaluate_tells_it_of_networks_with_a_finite_value() -> None:
    measure, given, gap = table_of(6)
    table = pd.DataFrame(
        {"gap": gap, "accuracy": given[:, 0], "hp.lr": CONFIGURATIONS, "m.norm": measure, "m.other": measure}
    )
    table.loc[:3, "m.other"] = [np.inf, np.nan, -np.inf, np.nan]
    scores = {each.name: each for each in evaluate(table, given=["accuracy"], num_resamples=100).scores}
    full = partial_r2s(measure[None], given[:, :1], gap, resamples_of(CONFIGURATIONS, num_resamples=100))[0]
    few = partial_r2s(measure[None, 4:], given[4:, :1], gap[4:], resamples_of(CONFIGURATIONS[4:], num_resamples=100))[
        0
    ]
    assert scores["m.norm"].partial_r2 == full
    assert scores["m.other"].partial_r2 == few
    assert evaluate(table, num_resamples=100).scores[0].partial_r2 == PartialR2()


def test_what_is_given_must_be_finite_numbers() -> None:
    measure, given, gap = table_of(7)
    table = pd.DataFrame({"gap": gap, "accuracy": given[:, 0], "name": "net", "m.norm": measure})
    with pytest.raises(InvalidInputError, match="given columns must be numbers, but 'name' holds type"):
        evaluate(table, given=["name"])
    table.loc[5, "accuracy"] = np.nan
    with pytest.raises(InvalidInputError, match="'accuracy' is not for 1 of 60"):
        evaluate(table, given=["accuracy"])
    with pytest.raises(InvalidInputError, match="'loss' must name one of the table's columns"):
        evaluate(table, given=["loss"])
