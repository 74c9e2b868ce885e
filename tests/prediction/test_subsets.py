"""Which networks belong to which subset, written out by hand."""

import numpy as np
import pandas as pd
import pytest

from widemargin.prediction import SUBSETS, has_learned, nearly_equal_accuracy, subsets_of


def networks(accuracies: list[float], **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"train_accuracy": accuracies, "train_loss": 0.1, "num_train": 900, "num_classes": 10})
    return table.assign(**columns)


def test_three_standard_errors_of_chance_are_untrained() -> None:
    edge = 0.1 + 3 * np.sqrt(0.1 * 0.9 / 900)
    assert list(has_learned(networks([0.05, 0.1, edge - 1e-9, edge + 1e-9, 0.9]))) == [
        False,
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_a_loss_of_nearly_the_logarithm_of_the_classes_is_untrained(num_classes: int) -> None:
    edge = 0.99 * np.log(num_classes)
    table = networks([0.9, 0.9], train_loss=[edge - 1e-9, edge + 1e-9], num_classes=num_classes)
    assert list(has_learned(table)) == [True, False]


def test_all_count_as_trained_where_the_number_of_classes_is_not_known() -> None:
    assert has_learned(networks([0.1, 0.9]).drop(columns="num_classes")).all()
    assert has_learned(networks([0.1, 0.9], num_classes=np.nan)).all()


def test_the_narrowest_band_holds_a_third_of_those_that_learned() -> None:
    accuracies = [0.1, 0.1, 0.1, 0.1, 0.5, 0.6, 0.71, 0.72, 0.73, 0.9, 0.95, 1.0]
    chosen = nearly_equal_accuracy(networks(accuracies))
    assert list(np.array(accuracies)[chosen]) == [0.71, 0.72, 0.73]


def test_a_network_inside_the_band_that_learned_nothing_does_not_belong_to_it() -> None:
    table = networks([0.3, 0.71, 0.72, 0.73, 0.9, 0.99], train_loss=[0.1, 0.1, 3.0, 0.1, 0.1, 0.1])
    assert list(np.flatnonzero(nearly_equal_accuracy(table))) == [1, 3]


def test_no_choice_of_a_third_lies_closer_together() -> None:
    accuracies = np.random.default_rng(0).uniform(0.3, 1.0, size=20)
    chosen = accuracies[nearly_equal_accuracy(networks(list(accuracies)))]
    ordered = np.sort(accuracies)
    assert len(chosen) == 7
    assert np.ptp(chosen) == min(np.ptp(ordered[start : start + 7]) for start in range(14))


def test_a_band_takes_all_networks_at_its_ends() -> None:
    assert list(nearly_equal_accuracy(networks([0.5, 0.7, 0.9, 1.0, 1.0, 1.0, 1.0]))) == [False] * 3 + [True] * 4


def test_without_a_network_that_learned_nothing_is_nearly_equal() -> None:
    assert not nearly_equal_accuracy(networks([0.1, 0.1])).any()


def test_the_least_training_accuracy_of_well_fitted_networks_belongs_to_them() -> None:
    table = networks([0.0, 0.9, 0.989, 0.9899, 0.99, 0.99, 0.995, 1.0])
    assert list(SUBSETS["train accuracy ≥ 0.99"](table)) == [False] * 4 + [True] * 4


def test_subsets_hold_their_networks_in_order() -> None:
    table = networks([0.1, 0.5, 0.7, 0.71, 0.99, 1.0])
    assert {name: list(rows.index) for name, rows in subsets_of(table).items()} == {
        "all": [0, 1, 2, 3, 4, 5],
        "train accuracy above chance": [1, 2, 3, 4, 5],
        "train accuracy ≥ 0.99": [4, 5],
        "nearly equal train accuracy": [2, 3],
    }


def test_a_subset_is_not_told_twice() -> None:
    assert list(subsets_of(networks([0.5, 0.6, 0.995, 1.0]))) == [
        "all",
        "train accuracy ≥ 0.99",
    ]
    assert list(subsets_of(networks([1.0, 1.0]))) == ["all"]
