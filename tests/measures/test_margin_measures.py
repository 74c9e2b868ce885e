"""Measures of margins over the whole training data against loops over examples."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from measures.networks import classifier, small_chain
from widemargin.errors import InvalidLabelsError, MeasureNotApplicableError
from widemargin.measures.margin_measures import (
    input_margin,
    inverse_margin,
    normalized_margin,
    normalized_margin_first_quartile,
    output_margin,
    spectrally_normalized_margin,
)
from widemargin.measures.quantities import Quantities
from widemargin.trained_model import TrainedModel


def naive_margins(trained: TrainedModel) -> list[float]:
    margins = []
    for one, label in zip(*trained.train_data, strict=True):
        logits = trained.network(one).tolist()
        margins.append(logits[label] - max(logits[k] for k in range(len(logits)) if k != label))
    return margins


def naive_distances(trained: TrainedModel, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances behind the first modules of a sequence, and the activations there."""
    distances, activations = [], []
    for one, label in zip(*trained.train_data, strict=True):
        point = trained.network[:depth](one).detach().requires_grad_(True)
        logits = trained.network[depth:](point)
        rival = max((k for k in range(3) if k != label), key=lambda k: float(logits[k].detach()))
        score = logits[label] - logits[rival]
        (gradient,) = torch.autograd.grad(score, point)
        distances.append(float(score.detach()) / math.sqrt(sum(float(g) ** 2 for g in gradient)))
        activations.append(point.detach().double().numpy())
    return np.array(distances), np.array(activations)


def test_the_output_margin_is_the_median_of_a_loop():
    trained = classifier()
    assert output_margin(Quantities(trained)).value == pytest.approx(sorted(naive_margins(trained))[20], rel=1e-5)


def fixed(*logits: float) -> TrainedModel:
    """Return a network with these margins."""
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[0.0], [1.0]])
    return TrainedModel(model, (torch.tensor(logits).unsqueeze(1), torch.ones(len(logits), dtype=torch.int64)))


def test_the_inverse_margin_of_eleven_examples_is_that_of_the_second_smallest():
    found = inverse_margin(Quantities(fixed(*[0.5, 2.0, *range(3, 12)])))
    assert found.value == pytest.approx(0.25)
    assert found.caveats == ()


def test_a_negative_margin_is_squared_with_a_caveat():
    found = inverse_margin(Quantities(fixed(*[-3.0, -2.0, *range(3, 12)])))
    assert found.value == pytest.approx(0.25)
    assert found.caveats == (
        "More than 10 % of the training examples are misclassified (γ = -2 < 0): the larger γ² is, the worse "
        "the network, so the order is reversed among such networks.",
    )


def test_a_margin_of_zero_has_no_inverse():
    with pytest.raises(MeasureNotApplicableError) as caught:
        inverse_margin(Quantities(fixed(*[-1.0, 0.0, *range(3, 12)])))
    assert str(caught.value) == "the inverse margin is infinite, because the 10 % quantile of margins is 0."


def test_the_spectrally_normalized_margin_is_that_of_its_definition():
    trained = classifier()
    product, ratios = 1.0, 0.0
    for name, weight in trained.network.named_parameters():
        if name.endswith("weight"):
            A = weight.detach().double().numpy()
            spectral = np.linalg.svd(A)[1][0]
            product *= spectral
            ratios += (np.sqrt((A**2).sum(axis=1)).sum() / spectral) ** (2 / 3)
    norm = np.linalg.norm(trained.train_data[0].double().numpy())
    expected = np.median(naive_margins(trained)) / (product * ratios**1.5 * norm / 41)
    assert spectrally_normalized_margin(Quantities(trained)).value == pytest.approx(expected, rel=1e-4)


def test_a_network_that_has_not_moved_has_no_spectrally_normalized_margin():
    model = small_chain()
    trained = classifier(model, initial_parameters=copy.deepcopy(model.state_dict()))
    with pytest.raises(MeasureNotApplicableError, match=r"^the spectral complexity is 0: .* was not trained\.$"):
        spectrally_normalized_margin(Quantities(trained))


def test_the_input_margin_is_the_median_distance_of_a_loop():
    trained = classifier()
    expected = np.median(naive_distances(trained, 0)[0])
    assert input_margin(Quantities(trained)).value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("measure", "quantile"), [(normalized_margin, 0.5), (normalized_margin_first_quartile, 0.25)]
)
def test_normalized_margins_are_those_of_loops_over_hidden_layers(measure, quantile):
    trained = classifier()
    found = measure(Quantities(trained))
    assert list(found.per_layer) == ["1", "3", "5"]
    for layer, value in found.per_layer.items():
        distances, activations = naive_distances(trained, int(layer) + 1)
        variation = sum(column.var() for column in activations.T)
        normalized = np.array([d for d in distances if d > 0]) / math.sqrt(variation)
        assert value == pytest.approx(math.log(np.quantile(normalized, quantile)), rel=1e-4, abs=1e-4)
    assert found.value == pytest.approx(sum(found.per_layer.values()) / 3)


class Words(nn.Module):
    """Tokens with two layers that everything passes through."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 3)
        self.inner = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.inner(self.words(words).mean(dim=1)))
        return logits


def test_tokens_have_no_input_margin():
    trained = TrainedModel(Words(), (torch.arange(24).view(8, 3) % 9, torch.arange(8) % 3))
    with pytest.raises(MeasureNotApplicableError) as caught:
        input_margin(Quantities(trained))
    assert str(caught.value) == (
        "there are no distances in input space, because its integers (tokens, say) have no gradient."
    )


def test_a_network_that_names_other_layers_has_no_input_margin():
    model = small_chain()
    model.margin_layers = ("3",)
    with pytest.raises(MeasureNotApplicableError, match="because the network names other layers for its margins"):
        input_margin(Quantities(classifier(model)))


def test_a_network_without_hidden_layers_has_no_normalized_margin():
    with pytest.raises(
        MeasureNotApplicableError, match="there are no hidden layers that all information passes through"
    ):
        normalized_margin(Quantities(classifier(nn.Linear(4, 3))))


class Bare(nn.Module):
    """Tokens and no module behind them but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 3))

    def forward(self, words: Tensor) -> Tensor:
        return self.table[words].mean(dim=1)


def test_a_network_without_any_layer_has_no_normalized_margin():
    trained = TrainedModel(Bare(), (torch.arange(24).view(8, 3) % 9, torch.arange(8) % 3))
    with pytest.raises(MeasureNotApplicableError, match=r"no layer found .* or in the network's attribute margin_"):
        normalized_margin(Quantities(trained))


def test_a_network_with_few_layers_is_told_how_to_name_more():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    (caveat,) = normalized_margin(Quantities(classifier(model))).caveats
    assert caveat.endswith("in the network's attribute margin_layers.")
    model.margin_layers = ("input", "0", "1")
    assert normalized_margin(Quantities(classifier(model))).caveats == ()


def test_layers_of_another_size_in_each_batch_have_no_normalized_margin():
    batches = [(torch.arange(4 * steps).view(4, steps) % 9, torch.arange(4) % 3) for steps in (3, 5)]
    model = Words()
    model.margin_layers = ("words",)
    with pytest.raises(MeasureNotApplicableError, match=r"must have the shape \[4, 3, 3\] in every batch"):
        normalized_margin(Quantities(TrainedModel(model, batches)))


def test_labels_out_of_range_are_no_property_of_the_small_chain():
    inputs, labels = classifier().train_data
    with pytest.raises(InvalidLabelsError, match="from 0 to below 3"):
        normalized_margin(Quantities(TrainedModel(small_chain(), (inputs, labels + 1))))


def test_a_dead_layer_has_no_normalized_margin():
    model = small_chain()
    nn.init.constant_(model[2].bias, -1e3)
    with pytest.raises(MeasureNotApplicableError, match="need activations that vary, but 3, 5 is the same"):
        normalized_margin(Quantities(classifier(model)))


def test_a_network_that_is_hardly_ever_right_has_no_normalized_margin():
    trained = classifier()
    wrong = (trained.network(trained.train_data[0]).argmax(dim=1) + 1) % 3
    with pytest.raises(
        MeasureNotApplicableError, match=r'need at least 4 correctly .* MarginDistribution\.signature\(keep="all"\)'
    ):
        normalized_margin(Quantities(TrainedModel(trained.model, (trained.train_data[0], wrong))))


def test_a_network_whose_gradients_vanish_has_no_input_margin():
    model = small_chain()
    nn.init.constant_(model[0].bias, -1e3)
    with pytest.raises(MeasureNotApplicableError, match="no distances at input, because all gradients vanish there"):
        input_margin(Quantities(classifier(model)))
