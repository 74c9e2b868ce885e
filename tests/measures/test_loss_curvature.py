"""Curvature against the dense Hessian, the Fisher–Rao norm against a loop over examples."""

import copy

import numpy as np
import pytest
import torch

from curvature.known_curvature import bowl, dense, rotated
from measures.sharpness_cases import classifier, curve, linear
from widemargin import TrainedModel
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.loss_curvature import (
    filter_normalized_hessian_trace,
    filter_normalized_top_hessian_eigenvalue,
    fisher_rao_norm,
    hessian_trace,
    top_hessian_eigenvalue,
)
from widemargin.measures.quantities import Quantities
from widemargin.parameters import ParameterSpace


def filter_norms(trained: TrainedModel) -> torch.Tensor:
    parts = []
    for parameter in trained.network.parameters():
        norms = torch.zeros_like(parameter)
        if parameter.ndim >= 2:
            for row in range(len(parameter)):
                norms[row] = parameter[row].norm()
        parts.append(norms.flatten())
    return torch.cat(parts).detach()


def test_top_eigenvalues_are_those_of_the_dense_matrix():
    trained = classifier(num_wrong=3)
    H, norms = dense(trained), filter_norms(trained)
    quantities = Quantities(trained)
    expected = float(torch.linalg.eigvalsh(H)[-1])
    assert top_hessian_eigenvalue(quantities).value == pytest.approx(expected, rel=1e-2)
    normalized = float(torch.linalg.eigvalsh(norms.unsqueeze(1) * H * norms)[-1])
    assert filter_normalized_top_hessian_eigenvalue(quantities).value == pytest.approx(normalized, rel=1e-2)


@pytest.mark.parametrize("is_normalized", [False, True])
def test_traces_are_on_average_those_of_the_dense_matrix(is_normalized):
    trained = classifier(num_wrong=3)
    diagonal = dense(trained).diagonal()
    measure = filter_normalized_hessian_trace if is_normalized else hessian_trace
    expected = float((diagonal * filter_norms(trained) ** 2 if is_normalized else diagonal).sum())
    found = [measure(Quantities(trained, seed=seed)) for seed in range(30)]
    values = np.array([each.value for each in found])
    assert abs(values.mean() - expected) < 3 * values.std() / len(values) ** 0.5
    assert values.std() < 0.3 * expected
    assert all(each.standard_error > 0 for each in found)


def test_a_top_eigenvalue_that_does_not_stand_out_says_how_near_it_came():
    found = top_hessian_eigenvalue(Quantities(bowl(rotated(torch.linspace(-4, 1, 300)))))
    assert found.value < 1
    (caveat,) = found.caveats
    assert caveat.startswith("Not converged after 15 products")
    assert caveat.endswith("top_eigenvalues(…, max_products=…) goes on for longer.")


@pytest.mark.parametrize("measure", [filter_normalized_hessian_trace, filter_normalized_top_hessian_eigenvalue])
def test_a_network_without_filters_has_no_normalized_curvature(measure):
    with pytest.raises(MeasureNotApplicableError) as caught:
        measure(Quantities(curve(torch.sin, 0.05)))
    assert str(caught.value) == "the network has no filter, a weight of two dimensions or more, beside 0."


def test_a_network_of_zeros_has_no_normalized_curvature():
    with pytest.raises(MeasureNotApplicableError, match="the network has no filter"):
        filter_normalized_hessian_trace(Quantities(linear([0.0, 0.0], [[1.0, 1.0]])))


def naive_fisher_rao(trained: TrainedModel) -> float:
    """The mean of ⟨∂loss/∂w, w⟩² over examples."""
    network, total = copy.deepcopy(trained.network), 0.0
    inputs, labels = trained.train_data
    for one, label in zip(inputs, labels, strict=True):
        network.zero_grad()
        trained.loss(network(one[None]), label[None]).sum().backward()
        total += sum(float((p.grad * p.detach()).sum()) for p in network.parameters()) ** 2
    return total / len(labels)


def test_without_biases_it_is_the_squared_norm_of_the_parameters_in_the_fisher_matrix():
    trained = classifier(num_wrong=3, bias=False)
    found = fisher_rao_norm(Quantities(trained))
    assert found.value == pytest.approx(naive_fisher_rao(trained))
    assert found.caveats == ()


def test_the_fisher_rao_norm_is_for_any_loss():
    trained = classifier(bias=False, dtype=torch.float32)
    squared = TrainedModel(
        trained.network, trained.train_data, loss=lambda logits, labels: ((logits - torch.eye(3)[labels]) ** 2).sum(1)
    )
    assert fisher_rao_norm(Quantities(squared)).value == pytest.approx(naive_fisher_rao(squared), rel=1e-4)


def test_a_linear_loss_has_its_mean_square_as_fisher_rao_norm():
    trained = linear([2.0, -1.0], [[3.0, 1.0], [1.0, 1.0]])  # losses 5 and 1, one layer
    assert fisher_rao_norm(Quantities(trained)).value == pytest.approx((25 + 1) / 2)


def test_biases_are_a_caveat_of_the_fisher_rao_norm():
    trained = classifier()
    outputs = Quantities(trained).outputs
    probabilities = outputs.logits.softmax(dim=1)
    total = 0.0
    for p, f, label in zip(probabilities, outputs.logits, outputs.labels, strict=True):
        total += sum((float(p[k]) - (k == int(label))) * float(f[k]) for k in range(3)) ** 2
    found = fisher_rao_norm(Quantities(trained))
    assert found.value == pytest.approx(3**2 * total / len(outputs.labels))
    assert found.caveats == (
        "Biases or norms break the homogeneity by which depth stands for the layers' own products.",
    )


def test_the_outputs_that_measures_share_stay_as_they_are():
    quantities = Quantities(classifier())
    fisher_rao_norm(quantities)
    assert not quantities.outputs.logits.requires_grad


def test_curvature_is_measured_on_the_sample():
    quantities = Quantities(classifier(num_wrong=3), num_sampled=9)
    expected = float(torch.linalg.eigvalsh(dense(quantities.sample))[-1])
    assert top_hessian_eigenvalue(quantities).value == pytest.approx(expected, rel=1e-2)
    assert ParameterSpace.of(quantities.trained.network).num_parameters == 83
