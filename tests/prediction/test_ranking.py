"""Rankings: pairs against simulation, order against definitions, and networks that cannot be ranked."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import widemargin
from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.margins import MarginDistribution, margin_distribution
from widemargin.prediction import GapPredictor, Ranking, rank, rank_margins
from widemargin.prediction.margin_score import SCORE_CAVEAT, margin_score, probability_of_order
from widemargin.prediction.ranking import order_probabilities
from widemargin.trained_model import TrainedModel

STATISTICS = ("lower_fence", "q1", "median", "q3", "upper_fence")
LAYERS = ("input", "hidden")


def measured(
    scale: float = 1.0, num_wrong: int = 10, *, seed: int = 0, layers: tuple[str, ...] = LAYERS, num: int = 200
) -> MarginDistribution:
    """A distribution of margins around a scale, so many of them negative."""
    rng = np.random.default_rng(seed)
    distances = scale * np.exp(0.5 * rng.normal(size=(num, len(layers))))
    distances[:num_wrong] *= -1
    return MarginDistribution(layers, distances, np.ones(len(layers)), distances[:, 0], 2.0, {})


def fitted(num: int = 60, layers: tuple[str, ...] = LAYERS, regularization: Any = "ridge") -> GapPredictor:
    """A predictor of gaps .3 − .1·log(scale) but for noise, fitted on distributions such as those above."""
    rng = np.random.default_rng(1)
    scales = np.exp(rng.normal(size=num))
    rows = [measured(scale, seed=i, layers=layers).signature() for i, scale in enumerate(scales)]
    gap = 0.3 - 0.1 * np.log(scales) + 0.02 * rng.normal(size=num)
    return GapPredictor(regularization=regularization).fit(pd.DataFrame(rows), gap)


def names(ranking: Ranking) -> list[str]:
    return [network.name for network in ranking.networks]


# the joint distribution


def test_pairs_are_ordered_as_often_as_their_probability_says() -> None:
    """A known linear model: fit on 25 networks, ask for 6 new ones of different training accuracy."""
    rng, num_fitted, num_new, slopes = np.random.default_rng(0), 25, 6, np.array([0.1, -0.05, 0.02])
    said, right = [], []
    for _ in range(300):
        X = rng.normal(size=(num_fitted + num_new, 3))
        gap = 0.2 + X @ slopes + 0.1 * rng.normal(size=len(X))
        predictor = GapPredictor("identity").fit(X[:num_fitted], gap[:num_fitted])
        accuracy = rng.uniform(0.7, 1.0, num_new)
        predicted, scale = predictor.predict_jointly(X[num_fitted:])
        probabilities = order_probabilities(accuracy - predicted, scale, predictor.degrees_of_freedom_)
        truth = accuracy - gap[num_fitted:]
        first, second = np.triu_indices(num_new, 1)
        said.append(probabilities[first, second])
        right.append(truth[first] > truth[second])
    for low in np.arange(0, 1, 0.2):
        inside = [(low <= chances) & (chances < low + 0.2) for chances in said]
        differences = np.array(  # a sum for each fit: pairs of one fit are not independent
            [
                (outcome[chosen] - chances[chosen]).sum()
                for outcome, chances, chosen in zip(right, said, inside, strict=True)
            ]
        )
        assert abs(differences.sum()) < 3 * np.sqrt((differences**2).sum())
        assert sum(chosen.sum() for chosen in inside) > 200


def test_shared_errors_cancel_in_pairs() -> None:
    """Two networks alike in every feature differ by their own noise alone, however far from what was fitted."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    predictor = GapPredictor("identity").fit(X, X[:, 0] + rng.normal(size=30))
    _, scale = predictor.predict_jointly(np.full((2, 2), 100.0))
    probability = order_probabilities(np.array([1.0, 0.0]), scale, predictor.degrees_of_freedom_)[0, 1]
    assert probability == pytest.approx(stats.t.cdf(1 / (np.sqrt(2) * predictor.residual_std_), 27), rel=1e-6)


def test_scales_of_predictions_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(30, 3)), rng.normal(size=(4, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=30)
    predictor = GapPredictor("identity").fit(X, y)
    D, N = np.column_stack([np.ones(30), X]), np.column_stack([np.ones(4), new])
    variance = ((y - D @ np.linalg.lstsq(D, y)[0]) ** 2).sum() / 26
    expected = variance * (np.eye(4) + N @ np.linalg.inv(D.T @ D) @ N.T)
    np.testing.assert_allclose(predictor.predict_jointly(new)[1], expected, rtol=1e-9)


def test_probabilities_of_a_pair_sum_to_one_and_a_network_ties_with_itself() -> None:
    for predictor in (None, fitted()):
        found = rank_margins({str(i): measured(0.5 + i, seed=i) for i in range(4)}, predictor=predictor)
        np.testing.assert_allclose(found.probabilities + found.probabilities.T, 1.0)
        np.testing.assert_allclose(np.diagonal(found.probabilities), 0.5)


# with a predictor


def test_orders_by_training_accuracy_less_the_predicted_gap() -> None:
    predictor, networks = fitted(), {"a": measured(0.5, 20), "b": measured(2.0, 10, seed=1), "c": measured(1.0, 60)}
    found = rank_margins(networks, predictor=predictor)
    assert found.by == "predictor"
    expected = {
        name: 1 - (margins.distances[:, 0] <= 0).mean() - predictor.predict(pd.DataFrame([margins.signature()]))[0]
        for name, margins in networks.items()
    }
    assert names(found) == sorted(expected, key=expected.__getitem__, reverse=True) == ["b", "a", "c"]
    for network in found.networks:
        assert network.score == pytest.approx(expected[network.name])


def test_intervals_are_those_of_the_gap() -> None:
    predictor, margins = fitted(), measured(0.7, 30)
    low, high = predictor.predict_interval(pd.DataFrame([margins.signature()]), 0.95)
    interval = rank_margins({"a": margins}, predictor=predictor).networks[0].interval
    assert interval == (pytest.approx(0.85 - high[0]), pytest.approx(0.85 - low[0]))


def test_expected_accuracies_stay_below_one_and_the_order_does_not_suffer() -> None:
    networks = {"great": measured(60.0, 0), "greater": measured(80.0, 0)}
    found = rank_margins(networks, predictor=fitted())
    assert names(found) == ["greater", "great"]
    assert [network.score for network in found.networks] == [1.0, 1.0]
    assert found.probabilities[0, 1] > 0.5


def test_order_and_probabilities_do_not_depend_on_how_networks_are_handed_over() -> None:
    networks = {str(i): measured(0.5 + i, seed=i) for i in range(5)}
    for predictor in (None, fitted()):
        forward = rank_margins(networks, predictor=predictor)
        backward = rank_margins(dict(reversed(networks.items())), predictor=predictor)
        assert names(forward) == names(backward)
        np.testing.assert_allclose(forward.probabilities, backward.probabilities)


@pytest.mark.parametrize("predictor", [None, fitted()], ids=["margins", "predictor"])
def test_equals_stay_in_the_callers_order_at_even_odds(predictor: GapPredictor | None) -> None:
    found = rank_margins({"z": measured(), "a": measured()}, predictor=predictor)
    assert names(found) == ["z", "a"]
    assert found.probabilities[0, 1] == 0.5


@pytest.mark.parametrize("predictor", [None, fitted()], ids=["margins", "predictor"])
def test_one_network_is_a_ranking_too(predictor: GapPredictor | None) -> None:
    found = rank_margins({"only": measured()}, predictor=predictor)
    assert names(found) == ["only"]
    assert found.probabilities.shape == (1, 1)


# what the predictor has not seen


def test_networks_like_those_seen_have_no_warnings() -> None:
    assert rank_margins({"a": measured(1.1, seed=77)}, predictor=fitted()).networks[0].warnings == ()


def test_a_feature_out_of_range_is_named_with_the_range() -> None:
    predictor, margins = fitted(), measured(1.1, seed=77)
    columns = list(predictor.feature_names_in_)
    low, high = (
        np.exp(end[columns.index("input/lower_fence")]) for end in (predictor.seen_.minimum, predictor.seen_.maximum)
    )
    distances = margins.distances.copy()
    distances[15, 0] = 1e-6
    margins = MarginDistribution(LAYERS, distances, np.ones(2), margins.output_margins, 2.0, {})
    warnings = rank_margins({"a": margins}, predictor=predictor).networks[0].warnings
    assert warnings[0] == (
        f"outside what the predictor has seen: input/lower_fence is 1e-06, seen from {low:.3g} to {high:.3g}."
    )


def test_many_features_out_of_range_are_counted() -> None:
    warnings = rank_margins({"a": measured(1e6)}, predictor=fitted()).networks[0].warnings
    assert "input/median is 9.5e+05, seen from" in warnings[0]
    assert warnings[0].endswith("; so are 7 more.")


def test_a_combination_unlike_any_seen_is_told() -> None:
    """Both layers within range, but never so different from each other."""
    margins = measured(1.0, seed=77)
    distances = margins.distances * [0.2, 5.0]
    margins = MarginDistribution(LAYERS, distances, np.ones(2), margins.output_margins, 2.0, {})
    warnings = rank_margins({"a": margins}, predictor=fitted()).networks[0].warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("its numbers together are unlike those of any network that the predictor has seen:")


def test_says_what_the_predictor_was_fitted_on() -> None:
    predictor = fitted()
    assert rank_margins({"a": measured()}, predictor=predictor).caveats == (
        "The predictor was fitted on 60 networks; its numbers hold for networks of the same kind, trained in the "
        "same ways on as many examples of the same data.",
    )
    predictor.origin_ = {"name": "little"}
    assert "60 networks of little;" in rank_margins({"a": measured()}, predictor=predictor).caveats[0]
    predictor.origin_ = {"sure_pairs": 50, "sure_pairs_right": 46}
    caveat = rank_margins({"a": measured()}, predictor=predictor).caveats[0]
    assert caveat.endswith(" Of 50 pairs left out of its fit that it gave 0.9 or more, 92% were in that order.")


def test_layers_of_other_names_are_taken_in_their_order_and_said() -> None:
    other = measured(0.7, layers=("input", "conv"))
    found = rank_margins({"a": measured(0.7), "b": other}, predictor=fitted())
    assert found.networks[0].score == found.networks[1].score
    assert found.caveats[0] == (
        "The predictor was fitted on layers of other names, input, hidden; taken for these, in their order: input, "
        "conv of b."
    )


def test_a_network_with_more_layers_is_listed_with_its_reason() -> None:
    deep = measured(layers=("input", "hidden", "more"))
    found = rank_margins({"deep": deep, "a": measured()}, predictor=fitted())
    assert names(found) == ["a"]
    assert found.left_out == {
        "deep": "its margins were measured at 3 layers, and the predictor was fitted on 2. Name as many layers, or "
        "rank without a predictor."
    }


@pytest.mark.parametrize(
    ("features", "got"),
    [
        (pd.DataFrame(np.ones((5, 2)), columns=["a", "b"]), "got a, b"),
        (
            pd.DataFrame(np.ones((5, 5)), columns=[f"input/{name}" for name in reversed(STATISTICS)]),
            "got input/upper",
        ),
        (np.ones((5, 2)), "got features without names"),
    ],
)
def test_a_predictor_of_other_features_is_refused(features: Any, got: str) -> None:
    predictor = GapPredictor(regularization="ridge").fit(features, np.arange(5.0))
    with pytest.raises(InvalidInputError, match=f"must be fitted on signatures \\(lower_fence, q1, .*{got}"):
        rank_margins({"a": measured()}, predictor=predictor)


def test_a_predictor_without_residuals_is_refused() -> None:
    with pytest.raises(TooFewExamplesError, match="intervals need more networks than fitted numbers"):
        rank_margins({"a": measured()}, predictor=fitted(6, regularization=None))


# from margins alone


def test_orders_by_the_margin_score() -> None:
    networks = {"a": measured(1.0, 20), "b": measured(2.0, 30, seed=1), "c": measured(0.5, 4)}
    found = rank_margins(networks)
    assert found.by == "margins"
    scores = {name: margin_score(margins) for name, margins in networks.items()}
    assert {network.name: network.score for network in found.networks} == scores
    assert names(found) == sorted(scores, key=scores.__getitem__, reverse=True)
    assert found.networks[0].interval is None
    first, second, third = sorted(scores.values(), reverse=True)
    expected = probability_of_order(np.array([first - second, first - third]))
    np.testing.assert_allclose(found.probabilities[0, 1:], expected)


def test_different_first_layers_are_said() -> None:
    networks = {"a": measured(), "b": measured(), "c": measured(layers=("embedding", "hidden"))}
    assert rank_margins(networks).caveats[0] == (
        "Scores take the margins at the first layer measured, and that differs; between such networks they can "
        "hardly be compared: input of a, b; embedding of c."
    )


def test_different_depths_need_no_words_as_the_input_is_the_same() -> None:
    networks = {"a": measured(), "b": measured(2.0, layers=("input", "1", "2"))}
    assert rank_margins(networks).caveats == (SCORE_CAVEAT,)


def test_different_numbers_of_training_examples_are_said() -> None:
    assert rank_margins({"a": measured(), "b": measured(num=300)}).caveats[0] == (
        "The networks were measured on 200, 300 training examples: the order is meant for networks trained on the "
        "same data."
    )


# networks


class Net(nn.Sequential):
    """Two layers that tell the sign of the first input, the more blurred the more the others weigh."""

    def __init__(self, blur: float) -> None:
        super().__init__(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        with torch.no_grad():
            for module in (self[0], self[2]):
                nn.init.zeros_(module.bias)
            self[0].weight.copy_(0.3 * blur * torch.randn(6, 4, generator=torch.Generator().manual_seed(3)))
            self[0].weight[:, 0] += 1.0
            self[2].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 6))


def data() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] < 0).long()


def test_ranks_networks_by_name_or_number_as_it_ranks_their_margins() -> None:
    networks = {"blurred": Net(2.0), "clear": Net(0.1)}
    expected = rank_margins({name: margin_distribution(TrainedModel(net, data())) for name, net in networks.items()})
    assert rank(networks, data()).as_dict() == expected.as_dict()
    assert names(expected) == ["clear", "blurred"]
    assert names(rank(list(networks.values()), data())) == ["network 2", "network 1"]
    assert widemargin.rank is rank


def test_a_trained_model_brings_its_own_data() -> None:
    networks = {"blurred": TrainedModel(Net(2.0), data()), "clear": TrainedModel(Net(0.1), data())}
    assert rank(networks).as_dict() == rank({"blurred": Net(2.0), "clear": Net(0.1)}, data()).as_dict()


def test_layers_can_be_named() -> None:
    found = rank([Net(0.1)], data(), layers="input", predictor=fitted(layers=("input",)))
    assert found.left_out == {}
    assert found.networks[0].interval is not None


def test_networks_that_cannot_be_measured_are_listed_with_their_reason() -> None:
    broken, dead, hopeless = Net(0.1), Net(0.1), Net(0.1)
    nn.init.constant_(broken[2].bias, float("nan"))
    nn.init.zeros_(dead[0].weight)
    with torch.no_grad():
        hopeless[2].weight.mul_(-1)
    found = rank({"broken": broken, "dead": dead, "hopeless": hopeless, "well": Net(0.1)}, data())
    assert names(found) == ["well"]
    assert list(found.left_out) == ["broken", "dead", "hopeless"]
    assert "logits must be finite" in found.left_out["broken"]
    assert "is the same for every example" in found.left_out["dead"]
    assert "need at least 4 correctly classified examples" in found.left_out["hopeless"]


def test_nothing_to_rank_is_an_error_that_tells_the_reason_once() -> None:
    with pytest.raises(InvalidInputError, match="at least one network that can be measured, got 2 that") as error:
        rank([Net(0.1), Net(0.2)])
    assert str(error.value).count("train_data is needed") == 1
    with pytest.raises(InvalidInputError, match=r"got 0 that cannot\. Hand over networks\."):
        rank([])


def test_answers_in_plain_lists_and_mappings() -> None:
    found = rank_margins({"a": measured(2.0), "b": measured()}, left_out={"c": "lost"}).as_dict()
    assert [network["name"] for network in found["networks"]] == ["a", "b"]
    assert found["networks"][0]["train_accuracy"] == 0.95
    assert found["left_out"] == {"c": "lost"}
    assert found["probabilities"][0][0] == 0.5
