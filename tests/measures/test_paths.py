"""The path norm against a sum over all paths."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from measures.networks import blobs, convolutional, of_tokens, perceptron
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures import MEASURES
from widemargin.measures.paths import squared_path_norm
from widemargin.trained_model import TrainedModel


def small(*layers: nn.Module) -> TrainedModel:
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.2)
    return TrainedModel(network, blobs(6, 2, num_classes=2))


def test_is_the_sum_over_all_paths_of_products_of_squared_weights() -> None:
    trained = small(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    first, _, second = trained.network.requires_grad_(False)
    total = sum(
        float((first.weight[j, i] * second.weight[k, j]) ** 2)
        for i, j, k in itertools.product(range(2), range(3), range(2))
    )
    total += sum(float((first.bias[j] * second.weight[k, j]) ** 2) for j in range(3) for k in range(2))
    total += float((second.bias**2).sum())
    assert squared_path_norm(trained) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_is_the_affine_map_that_it_is(affine: bool) -> None:
    trained = small(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3, affine=affine), nn.ReLU(), nn.Linear(3, 2))
    first, norm, _, second = trained.network
    scale = (norm.running_var + norm.eps).rsqrt() * (norm.weight if affine else 1)
    shift = (norm.bias if affine else 0) - norm.running_mean * scale
    folded = nn.Linear(2, 3)
    with torch.no_grad():
        folded.weight.copy_(scale[:, None] * first.weight)
        folded.bias.copy_(shift)
    same = replace(trained, model=nn.Sequential(folded, nn.ReLU(), second))
    assert squared_path_norm(trained) == pytest.approx(squared_path_norm(same), rel=1e-6)


def test_the_measures_are_its_logarithm_with_and_without_margin() -> None:
    names = [f"{name}{end}" for name in ("log_path_norm", "log_spectral_product") for end in ("", "_over_margin")]
    plain, over_margin, spectral, over = (MEASURES[name](perceptron()).value for name in names)
    assert plain == pytest.approx(math.log(squared_path_norm(perceptron())))
    assert over_margin - plain == pytest.approx(over - spectral)


def test_exists_for_convolutions() -> None:
    assert math.isfinite(MEASURES["log_path_norm"](convolutional()).value)


def test_tokens_have_no_path_norm() -> None:
    with pytest.raises(MeasureNotApplicableError, match="whose inputs are no numbers"):
        squared_path_norm(of_tokens())


def test_a_network_of_zeros_has_none() -> None:
    trained = small(nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in trained.network.parameters():
            parameter.zero_()
    with pytest.raises(MeasureNotApplicableError, match="must be a number above 0, and is 0"):
        squared_path_norm(trained)


def test_a_network_of_two_inputs_has_none() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.left(left) + self.right(right)

    inputs, labels = blobs(6, 2, num_classes=2)
    with pytest.raises(MeasureNotApplicableError, match="for networks of one input, and this one takes more"):
        squared_path_norm(TrainedModel(Sum(), (inputs, inputs, labels)))
