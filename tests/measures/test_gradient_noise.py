"""Spread of single examples' gradients against sample covariances and loops."""

import copy

import pytest
import torch
from torch import nn

from curvature.known_curvature import NETWORKS, trained_network
from measures.sharpness_cases import classifier, linear
from widemargin import TrainedModel
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.gradient_noise import gradient_noise
from widemargin.measures.gradient_spread import gradient_noise_scale, gradient_variance
from widemargin.measures.quantities import Quantities

INPUTS = [[3.0, 1.0], [1.0, -1.0], [2.0, 3.0]]  # the gradients of a linear loss


def test_a_linear_loss_has_the_covariance_of_its_inputs():
    quantities = Quantities(linear([2.0, -1.0], INPUTS))
    covariance = torch.cov(torch.tensor(INPUTS, dtype=torch.float64).T)
    assert gradient_variance(quantities).value == pytest.approx(1 + 4)
    assert gradient_variance(quantities).value == pytest.approx(float(covariance.trace()))
    assert gradient_noise_scale(quantities).value == pytest.approx(5 / (2**2 + 1**2))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_has_that_of_a_loop_over_its_examples(name):
    trained = trained_network(name)
    network = copy.deepcopy(trained.network).eval()
    alone = TrainedModel(network, trained.train_data, loss=trained.loss, batch_size=1)
    rows = []
    for batch, labels in alone.batches():
        for index in range(len(labels)):
            network.zero_grad()
            alone.losses(alone.logits(batch), labels)[index].backward()
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()]
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    table = torch.stack(rows)
    found = gradient_noise(trained)
    assert found.variance == pytest.approx(float(table.var(dim=0).sum()))
    assert found.squared_mean == pytest.approx(float((table.mean(dim=0) ** 2).sum()))


def test_equal_examples_have_no_noise():
    variance = gradient_noise(linear([2.0], [[0.7]] * 7)).variance
    assert 0 <= variance < 1e-15  # what rounding leaves of the difference is below 0


def test_ignores_how_data_is_batched():
    one, many = gradient_noise(classifier(batch_size=1)), gradient_noise(classifier(batch_size=20))
    assert one == many


def test_one_example_has_no_variance():
    with pytest.raises(MeasureNotApplicableError) as caught:
        gradient_noise(linear([2.0], [[1.0]]))
    assert str(caught.value) == "the gradients of two examples or more are needed, and there is one."


def test_examples_that_a_batch_norm_ties_together_have_no_gradients_of_their_own():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))
    with pytest.raises(MeasureNotApplicableError) as caught:
        gradient_noise(TrainedModel(network, (torch.eye(3), torch.tensor([0, 1, 0]))))
    assert str(caught.value) == "a BatchNorm without running statistics leaves examples no own gradient."


def test_a_mean_gradient_of_zero_has_no_noise_scale():
    quantities = Quantities(linear([2.0], [[1.0], [-1.0]]))
    assert gradient_variance(quantities).value == pytest.approx(2)
    with pytest.raises(MeasureNotApplicableError) as caught:
        gradient_noise_scale(quantities)
    assert str(caught.value) == "the mean gradient on the sample is 0, and nothing can be measured by it."
