"""Rankings by measures: order against the definition, what is not known, and predictors of another kind."""

import math

import numpy as np
import pandas as pd
import pytest

from widemargin.errors import InvalidInputError
from widemargin.prediction import GapPredictor, measures_of, rank_measured


def fitted() -> GapPredictor:
    """A predictor of gaps .2 + .05·log norm − .02·loss but for noise."""
    rng = np.random.default_rng(0)
    log_norm, loss, noise = rng.normal(size=(3, 50))
    X = pd.DataFrame({"log norm": log_norm, "loss": loss})
    return GapPredictor("identity", "ridge").fit(X, 0.2 + 0.05 * log_norm - 0.02 * loss + 0.005 * noise)


def network(norm: float, loss: float, accuracy: float = 0.9) -> dict[str, float]:
    return {"norm": norm, "loss": loss, "training_accuracy": accuracy, "unasked": 7.0}


def test_orders_by_training_accuracy_less_the_predicted_gap() -> None:
    predictor = fitted()
    networks = {"a": network(2.0, 0.1), "b": network(0.5, -0.3), "c": network(0.5, -0.3, accuracy=0.8)}
    found = rank_measured(networks, predictor)
    assert (found.by, [each.name for each in found.networks]) == ("predictor", ["b", "a", "c"])
    for each in found.networks:
        values = networks[each.name]
        row = pd.DataFrame([{"log norm": math.log(values["norm"]), "loss": values["loss"]}])
        assert each.score == pytest.approx(values["training_accuracy"] - predictor.predict(row)[0])
        assert each.interval is not None
        assert each.interval[0] < each.score < each.interval[1]
        assert each.warnings == ()
    assert found.probabilities[0, 1] > 0.9
    np.testing.assert_allclose(found.probabilities + found.probabilities.T, 1.0)


@pytest.mark.parametrize("norm", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_not_known_is_taken_as_the_mean_and_told(norm: float) -> None:
    predictor = fitted()
    mean = float(np.exp(predictor.seen_.mean[0]))
    odd, like = rank_measured({"odd": network(norm, 0.1), "like": network(mean, 0.1)}, predictor).networks
    assert odd.score == pytest.approx(like.score)
    assert odd.warnings == ("not known, and taken as the mean of what was seen: norm.",)
    assert like.warnings == ()


def test_a_measure_that_was_not_taken_is_not_known() -> None:
    (found,) = rank_measured({"net": {"training_accuracy": 1.0}}, fitted()).networks
    assert found.warnings == ("not known, and taken as the mean of what was seen: norm, loss.",)


def test_what_lies_outside_of_what_was_seen_is_told() -> None:
    (found,) = rank_measured({"far": network(1e9, 0.0)}, fitted()).networks
    assert found.warnings[0].startswith("outside what the predictor has seen: log norm is 20.7")


def test_networks_without_a_training_accuracy_are_left_out() -> None:
    found = rank_measured({"a": network(1.0, 0.0), "b": {"norm": 1.0}}, fitted(), left_out={"c": "it burned."})
    assert [each.name for each in found.networks] == ["a"]
    assert found.left_out == {"c": "it burned.", "b": "its training_accuracy is not known."}


def test_nothing_to_rank_is_an_error() -> None:
    with pytest.raises(
        InvalidInputError, match=r"at least one network that can be measured, got 1 that cannot\. it bur"
    ):
        rank_measured({}, fitted(), left_out={"c": "it burned."})
    with pytest.raises(InvalidInputError, match=r"got 0 that cannot\. Hand over networks."):
        rank_measured({}, fitted())


def test_a_predictor_tells_its_measures_training_accuracy_with_them() -> None:
    assert measures_of(fitted()) == ["norm", "loss", "training_accuracy"]


def test_a_predictor_on_signatures_or_arrays_has_no_measures() -> None:
    X = pd.DataFrame({"input/q1": [0.1, 0.2, 0.3, 0.4]})
    signatures = GapPredictor().fit(X, [0.4, 0.3, 0.2, 0.1])
    assert measures_of(signatures) is None
    assert measures_of(GapPredictor().fit(X.to_numpy(), [0.4, 0.3, 0.2, 0.1])) is None
    with pytest.raises(InvalidInputError, match="must be fitted on measures, and this one takes signatures"):
        rank_measured({"a": network(1.0, 0.0)}, signatures)
