"""Measures of size and norms against loops over layers with numpy."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from measures.networks import convolutional, perceptron
from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.measures import MEASURES
from widemargin.networks import MLP
from widemargin.trained_model import TrainedModel


def weights(trained: TrainedModel) -> list[np.ndarray]:
    return [m.weight.detach().double().numpy() for m in trained.network.modules() if isinstance(m, nn.Linear)]


def initial_weights(trained: TrainedModel) -> list[np.ndarray]:
    assert trained.initial_parameters is not None
    return [value.double().numpy() for value in trained.initial_parameters.values() if value.ndim == 2]


def spectral(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


def low_margin(trained: TrainedModel) -> float:
    inputs, labels = trained.train_data
    with torch.no_grad():
        logits = trained.network(inputs).double().numpy()
    margins = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        margins.append(row[label] - max(value for index, value in enumerate(row) if index != label))
    return float(np.quantile(margins, 0.1))


def expected(trained: TrainedModel) -> dict[str, float]:
    """Return every measure of this file by its definition."""
    now, before, gamma = weights(trained), initial_weights(trained), low_margin(trained)
    d = len(now)
    spectral_product = math.prod(spectral(w) ** 2 for w in now)
    frobenius_product = math.prod((w**2).sum() for w in now)
    stable_ranks = [(w**2).sum() / spectral(w) ** 2 for w in now]
    moved = [((w - v) ** 2).sum() / spectral(w) ** 2 for w, v in zip(now, before, strict=True)]
    group = sum(
        (np.linalg.norm(w - v, axis=1).sum() / spectral(w)) ** (2 / 3) for w, v in zip(now, before, strict=True)
    )
    return {
        "num_parameters": 5 * 14 + 14 + 14 * 12 + 12 + 12 * 11 + 11 + 11 * 3 + 3,
        "parameter_norm": sum((w**2).sum() for w in now),
        "distance_from_initialization": sum(((w - v) ** 2).sum() for w, v in zip(now, before, strict=True)),
        "spectral_distance_from_initialization": sum(spectral(w - v) ** 2 for w, v in zip(now, before, strict=True)),
        "log_spectral_product": math.log(spectral_product),
        "log_spectral_product_over_margin": math.log(spectral_product / gamma**2),
        "log_spectral_sum": math.log(d * spectral_product ** (1 / d)),
        "log_spectral_sum_over_margin": math.log(d * (spectral_product / gamma**2) ** (1 / d)),
        "log_frobenius_product": math.log(frobenius_product),
        "log_frobenius_product_over_margin": math.log(frobenius_product / gamma**2),
        "log_frobenius_sum": math.log(d * frobenius_product ** (1 / d)),
        "log_frobenius_sum_over_margin": math.log(d * (frobenius_product / gamma**2) ** (1 / d)),
        "frobenius_over_spectral": sum(stable_ranks),
        "stable_rank": sum(stable_ranks) / d,
        "log_spectral_initialization_bound": math.log(spectral_product * sum(moved) / gamma**2),
        "log_spectral_origin_bound": math.log(spectral_product * sum(stable_ranks) / gamma**2),
        "log_spectral_complexity": 0.5 * math.log(spectral_product) + 1.5 * math.log(group),
    }


NAMES = list(expected(perceptron()))


@pytest.mark.parametrize("name", NAMES)
def test_is_what_a_loop_over_layers_gives(name: str) -> None:
    assert MEASURES[name](perceptron()).value == pytest.approx(expected(perceptron())[name], rel=1e-6)


def test_a_batch_norm_counts_with_the_convolution_before_it() -> None:
    trained = convolutional()
    block = trained.network.blocks[0]
    convolution, norm = block.conv1
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double()
    folded = factor[:, None] * convolution.weight.detach().double().flatten(1)
    per_layer = MEASURES["log_frobenius_product"](trained).per_layer
    assert per_layer["blocks.0.conv1.0"] == pytest.approx(math.log((folded**2).sum()), rel=1e-6)


def test_products_are_sums_over_layers() -> None:
    found = MEASURES["log_spectral_product"](perceptron())
    assert sum(found.per_layer.values()) == pytest.approx(found.value)
    assert len(found.per_layer) == 4


@pytest.mark.parametrize("name", [name for name in NAMES if "over_margin" in name or "bound" in name])
def test_over_a_margin_that_is_not_positive_does_not_exist(name: str) -> None:
    inputs, labels = perceptron().train_data
    wrong = replace(perceptron(), train_data=(inputs, (labels + 1) % 3))
    with pytest.raises(MeasureNotApplicableError, match=r"10 % quantile of the output margins must be above 0"):
        MEASURES[name](wrong)


def test_a_layer_of_zeros_has_no_logarithm() -> None:
    network = MLP(3, (5,), hidden=(14, 12, 11))
    with torch.no_grad():
        network.head.weight.zero_()
    with pytest.raises(MeasureNotApplicableError, match=r"needs weights, but all of head are 0\."):
        MEASURES["log_frobenius_product"](replace(perceptron(), model=network))


def test_a_network_that_did_not_move_has_no_bound_around_its_start() -> None:
    trained = replace(perceptron(), initial_parameters=perceptron().network.state_dict())
    with pytest.raises(MeasureNotApplicableError, match="the network was not trained"):
        MEASURES["log_spectral_initialization_bound"](trained)


def test_initial_parameters_must_be_complete() -> None:
    trained = replace(perceptron(), initial_parameters={"head.weight": perceptron().network.head.weight})
    with pytest.raises(InvalidInputError, match=r"must hold .* of shape .*, got no such entry\. Hand over"):
        MEASURES["distance_from_initialization"](trained)


@pytest.mark.parametrize("name", ["log_spectral_complexity", "spectral_distance_from_initialization"])
def test_weights_in_half_precision_are_computed_with_as_they_are(name: str) -> None:
    trained = perceptron()
    assert trained.initial_parameters is not None
    half = copy.deepcopy(trained.network).bfloat16()
    start = {key: value.bfloat16() for key, value in trained.initial_parameters.items()}
    found = MEASURES[name](replace(trained, model=half, initial_parameters=start)).value
    single = {key: value.float() for key, value in start.items()}
    expected = MEASURES[name](replace(trained, model=copy.deepcopy(half).float(), initial_parameters=single)).value
    assert found == pytest.approx(expected, rel=1e-9)
