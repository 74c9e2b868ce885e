"""The score that needs no predictor, and what its differences are worth."""

import numpy as np
import pytest

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.margins import MarginDistribution
from widemargin.prediction.margin_score import margin_score, probability_of_order, train_accuracy


def distribution(distances: list[list[float]], variation: float = 4.0) -> MarginDistribution:
    table = np.array(distances)
    return MarginDistribution(
        ("input", "hidden")[: table.shape[1]],
        table,
        np.full(table.shape[1], variation),
        table[:, 0],
        2.0,
        {},
    )


EXAMPLE = distribution(
    [[1.0, 9.0], [2.0, 9.0], [3.0, 9.0], [4.0, 9.0], [5.0, 9.0], [-1.0, -9.0], [0.0, 0.0], [-2.0, -1.0]]
)


def test_a_tie_is_a_mistake() -> None:
    assert train_accuracy(EXAMPLE) == 5 / 8


def test_is_training_accuracy_and_a_fifth_of_the_logarithm_of_the_upper_quartile_at_the_first_layer() -> None:
    assert margin_score(EXAMPLE) == pytest.approx(5 / 8 + 0.2 * np.log(4.0 / 2.0))


def test_ignores_a_rescaling_of_the_layer() -> None:
    scaled = MarginDistribution(
        EXAMPLE.layers, 3 * EXAMPLE.distances, 9 * EXAMPLE.total_variation, EXAMPLE.output_margins, 2.0, {}
    )
    assert margin_score(scaled) == pytest.approx(margin_score(EXAMPLE))


def test_a_margin_twice_as_wide_is_worth_fourteen_points() -> None:
    wider = MarginDistribution(
        EXAMPLE.layers, 2 * EXAMPLE.distances, EXAMPLE.total_variation, EXAMPLE.output_margins, 2.0, {}
    )
    assert margin_score(wider) - margin_score(EXAMPLE) == pytest.approx(0.1386, abs=1e-4)


def test_networks_without_margins_have_no_score() -> None:
    with pytest.raises(TooFewExamplesError, match="need at least 4 correctly classified examples"):
        margin_score(distribution([[1.0], [-1.0], [-1.0], [-1.0]]))
    with pytest.raises(InvalidInputError, match="input is the same for every example"):
        margin_score(distribution([[1.0]] * 5, variation=0.0))


def test_probabilities_are_even_for_equals_mirrored_for_the_other_and_rise_to_63_percent() -> None:
    differences = np.linspace(-1, 1, 41)
    found = probability_of_order(differences)
    assert found[20] == 0.5
    np.testing.assert_allclose(found + found[::-1], 1.0)
    assert (np.diff(found) >= 0).all()
    assert found[-1] == pytest.approx(0.63)
    assert probability_of_order(np.array([0.05]))[0] == pytest.approx(0.5 + 0.13 * (np.e**2 - 1) / (np.e**2 + 1))
