"""Measures of features and of mixtures against loops over examples."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import davies_bouldin_score
from torch import nn

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.feature_measures import (
    constrained_margin,
    davies_bouldin,
    davies_bouldin_mixup,
    gradient_normalized_k_variance_margin,
    k_variance_margin,
    mixup_accuracy,
    mixup_margin,
)
from widemargin.measures.quantities import Quantities
from widemargin.trained_model import TrainedModel

LAYERS = {"1": 2, "3": 4}  # layer → how many modules up to and with it


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.1), nn.Linear(8, 7), nn.LeakyReLU(0.1), nn.Linear(7, 3))


def classifier(model: nn.Module | None = None, num_examples: int = 30) -> TrainedModel:
    model = model or network()
    inputs = torch.randn(num_examples, 6, generator=torch.Generator().manual_seed(1)) * 2.0 ** -torch.arange(6)
    labels = model(inputs).argmax(dim=1)
    labels[::9] = (labels[::9] + 1) % 3
    return TrainedModel(model, (inputs, labels), batch_size=7)


def score_and_gradient(
    model: nn.Sequential, depth: int, one: torch.Tensor, label: torch.Tensor
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the margin of one example, its gradient at a layer and the activation there."""
    point = model[:depth](one).detach().requires_grad_(True)
    logits = model[depth:](point)
    rival = max((k for k in range(3) if k != label), key=lambda k: float(logits[k].detach()))
    score = logits[label] - logits[rival]
    (gradient,) = torch.autograd.grad(score, point)
    return float(score.detach()), gradient.double().numpy(), point.detach().double().numpy()


def rows(trained: TrainedModel, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [
        score_and_gradient(trained.network, depth, *example) for example in zip(*trained.train_data, strict=True)
    ]
    return tuple(np.array(column) for column in zip(*parts, strict=True))


def pair_per_class() -> TrainedModel:
    """Return two examples of each of three classes: the only split of a class is into its two examples."""
    trained = classifier(num_examples=200)
    inputs, labels = trained.train_data
    chosen = torch.cat([(labels == label).nonzero().squeeze(1)[:2] for label in range(3)])
    return TrainedModel(trained.model, (inputs[chosen], labels[chosen]), batch_size=4)


def test_the_k_variance_margin_of_two_examples_a_class_has_its_hand_worked_value():
    trained = pair_per_class()
    found = k_variance_margin(Quantities(trained))
    for layer, depth in LAYERS.items():
        scores, gradients, points = rows(trained, depth)
        spread = 0.0
        for one in (0, 2, 4):
            lipschitz = max(np.linalg.norm(gradients[one]), np.linalg.norm(gradients[one + 1]))
            spread += np.linalg.norm(points[one] - points[one + 1]) * lipschitz / 3
        assert found.per_layer[layer] == pytest.approx(np.median(scores) / spread, rel=1e-4)
    assert found.value == pytest.approx(sum(found.per_layer.values()) / 2)
    assert found.standard_error == pytest.approx(0, abs=1e-12)


def test_the_gradient_normalized_form_takes_distances_and_no_lipschitz_constant():
    trained = pair_per_class()
    found = gradient_normalized_k_variance_margin(Quantities(trained))
    for layer, depth in LAYERS.items():
        scores, gradients, points = rows(trained, depth)
        spread = sum(np.linalg.norm(points[one] - points[one + 1]) / 3 for one in (0, 2, 4))
        distances = scores / np.linalg.norm(gradients, axis=1)
        assert found.per_layer[layer] == pytest.approx(np.median(distances) / spread, rel=1e-4)


def test_margins_and_slopes_are_those_of_all_examples_and_spreads_those_of_the_sample():
    trained = classifier()
    quantities = Quantities(trained, num_sampled=12, seed=3)
    found = k_variance_margin(quantities)
    spreads, labels = quantities.class_spreads, trained.train_data[1].numpy()
    by_split = []
    for layer, depth in LAYERS.items():
        scores, gradients, _ = rows(trained, depth)
        slopes = [np.linalg.norm(gradients[labels == label], axis=1).max() for label in spreads.classes]
        terms = zip(spreads.shares, spreads.costs[layer].T, slopes, strict=True)
        spread = sum(share * costs * slope for share, costs, slope in terms)
        assert found.per_layer[layer] == pytest.approx(np.median(scores) / spread.mean(), rel=1e-4)
        by_split.append(np.median(scores) / spread)
    assert found.standard_error == pytest.approx(np.mean(by_split, axis=0).std(ddof=1) / math.sqrt(10), rel=1e-4)
    assert found.caveats == (
        "The standard error is that of the random halves of classes, not of the sample.",
        "Measured on 12 of 30 training examples, drawn at random.",
    )


def test_features_that_are_all_the_same_leave_no_k_variance_margin():
    trained = pair_per_class()
    nn.init.zeros_(trained.network[2].weight)
    with pytest.raises(MeasureNotApplicableError, match="spread of classes, because that is 0 at 1"):
        k_variance_margin(Quantities(trained))


@pytest.mark.parametrize(
    "measure", [k_variance_margin, gradient_normalized_k_variance_margin, davies_bouldin, mixup_margin]
)
def test_a_network_without_hidden_layers_has_no_such_measure(measure):
    torch.manual_seed(0)
    with pytest.raises(
        MeasureNotApplicableError, match="there are no hidden layers that all information passes through"
    ):
        measure(Quantities(classifier(nn.Linear(6, 3))))


def test_the_constrained_margin_is_the_median_distance_along_components_of_scikit_learn():
    trained = classifier()
    found = constrained_margin(Quantities(trained))
    scores, gradients, inputs = rows(trained, 0)
    fitted = PCA().fit(inputs)
    variances = fitted.explained_variance_
    chord = np.linspace(variances[0], variances[-1], 6)
    num_components = int((chord - variances).argmax()) + 1
    seen = gradients @ fitted.components_[:num_components].T
    assert found.value == pytest.approx(np.median(scores / np.linalg.norm(seen, axis=1)), rel=1e-4)
    assert found.caveats == (f"Principal components that count: {num_components}, of 30 inputs.",)
    assert found.standard_error is None


def test_a_constrained_margin_is_never_below_the_one_in_all_of_input_space():
    trained = classifier()
    scores, gradients, _ = rows(trained, 0)
    all_right = scores > 0
    data = tuple(part[torch.from_numpy(all_right)] for part in trained.train_data)
    found = constrained_margin(Quantities(TrainedModel(trained.model, data)))
    assert found.value > np.median(scores[all_right] / np.linalg.norm(gradients[all_right], axis=1))


def test_medians_of_samples_scatter_by_their_standard_error():
    trained = classifier(num_examples=1000)
    found = [constrained_margin(Quantities(trained, num_sampled=100, seed=seed)) for seed in range(30)]
    scatter, said = np.std([each.value for each in found]), np.mean([each.standard_error for each in found])
    assert 0.7 < scatter / said < 1.4


def tokens() -> TrainedModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(9, 4), nn.Linear(4, 3))
    return TrainedModel(model, (torch.arange(24).view(8, 3) % 9, torch.arange(8) % 2))


def test_tokens_have_no_constrained_margin():
    with pytest.raises(
        MeasureNotApplicableError, match="no distances in input space, because inputs are no real numbers"
    ):
        constrained_margin(Quantities(tokens()))


def test_tokens_have_a_davies_bouldin_index():
    assert davies_bouldin(Quantities(tokens())).value > 0


def mixtures(trained: TrainedModel) -> list[tuple[int, int]]:
    labels = trained.train_data[1]
    return [(i, j) for i, j in itertools.combinations(range(len(labels)), 2) if labels[i] == labels[j]]


def test_mixup_accuracy_of_two_examples_a_class_is_that_of_their_means():
    trained = pair_per_class()
    inputs, labels = trained.train_data
    right = [
        int(trained.network((inputs[i] + inputs[j]) / 2).argmax()) == int(labels[i]) for i, j in mixtures(trained)
    ]
    assert mixup_accuracy(Quantities(trained)).value == pytest.approx(sum(right) / 3)


def test_mixup_accuracy_of_samples_is_that_of_all_pairs_within_its_standard_error():
    trained = classifier(num_examples=400)
    inputs, labels = trained.train_data
    by_class = []
    for label in range(3):
        own = inputs[labels == label]
        pairs = torch.combinations(torch.arange(len(own)))
        mixed = (own[pairs[:, 0]] + own[pairs[:, 1]]) / 2
        by_class.append(float((trained.network(mixed).argmax(dim=1) == label).double().mean()))
    truth = np.dot(by_class, np.bincount(labels)) / 400
    found = [mixup_accuracy(Quantities(trained, num_sampled=60, seed=seed)) for seed in range(40)]
    said = np.mean([each.standard_error for each in found])
    assert 0.05 < truth < 0.95
    assert abs(np.mean([each.value for each in found]) - truth) < said / 2
    assert 0.5 < np.std([each.value for each in found]) / said < 1.2


def test_the_mixup_margin_of_two_examples_a_class_is_that_of_their_means():
    trained = pair_per_class()
    inputs, labels = trained.train_data
    pairs = mixtures(trained)
    mixed = torch.stack([(inputs[i] + inputs[j]) / 2 for i, j in pairs])
    found = mixup_margin(Quantities(trained))
    for layer, depth in LAYERS.items():
        scores, gradients, points = rows(TrainedModel(trained.model, (mixed, labels[[i for i, _ in pairs]])), depth)
        variation = sum(column.var() for column in points.T)
        normalized = scores / np.linalg.norm(gradients, axis=1) / math.sqrt(variation)
        assert found.per_layer[layer] == pytest.approx(np.median(normalized), rel=1e-4)
    assert found.value == found.per_layer["1"]
    assert found.standard_error > 0


def test_a_dead_layer_has_no_mixup_margin():
    trained = classifier()
    nn.init.zeros_(trained.network[2].weight)
    with pytest.raises(MeasureNotApplicableError, match="need activations that vary, but 3 is the same"):
        mixup_margin(Quantities(trained))


def test_the_davies_bouldin_index_is_that_of_scikit_learn_at_each_layer():
    trained = classifier()
    found = davies_bouldin(Quantities(trained))
    for layer, depth in LAYERS.items():
        expected = davies_bouldin_score(rows(trained, depth)[2], trained.train_data[1])
        assert found.per_layer[layer] == pytest.approx(expected, rel=1e-5)
    assert found.value == found.per_layer["1"]
    assert found.standard_error is None


def test_the_product_is_the_index_times_the_error_of_mixtures():
    quantities = Quantities(classifier(), num_sampled=20)
    index, accuracy, found = (
        measure(quantities) for measure in (davies_bouldin, mixup_accuracy, davies_bouldin_mixup)
    )
    assert found.value == pytest.approx(index.value * (1 - accuracy.value))
    assert found.standard_error == pytest.approx(index.value * accuracy.standard_error)
    assert found.per_layer == {layer: value * (1 - accuracy.value) for layer, value in index.per_layer.items()}


def test_activations_of_another_size_in_each_batch_cannot_be_compared():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(2, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, steps: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.wide(steps).mean(dim=1))
            return logits

    batches = [(torch.randn(4, steps, 2), torch.tensor([0, 0, 1, 1])) for steps in (3, 5)]
    with pytest.raises(MeasureNotApplicableError) as caught:
        davies_bouldin(Quantities(TrainedModel(Pooled(), batches)))
    assert str(caught.value) == (
        "features of different examples cannot be compared, because input has another size in each batch."
    )
