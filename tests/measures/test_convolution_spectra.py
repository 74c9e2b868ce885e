"""Singular values of convolutions against the dense matrices of the operators."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # the name everyone knows it by

from measures.networks import blobs, convolutional
from widemargin.measures import MEASURES, LinearMap, convolution_singular_values, linear_maps, operator_norm
from widemargin.trained_model import TrainedModel


def dense(operator: Callable[[Tensor], Tensor], *shape: int) -> np.ndarray:
    """Return the matrix of a linear operator, column by column."""
    columns = []
    for index in range(math.prod(shape)):
        unit = torch.zeros(math.prod(shape), dtype=torch.float64)
        unit[index] = 1
        columns.append(operator(unit.view(1, *shape)).flatten().numpy())
    return np.stack(columns, axis=1)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def circular(kernel: Tensor, stride: int, dilation: int) -> Callable[[Tensor], Tensor]:
    """Return a circular convolution whose output starts at the input's first place."""
    widths = [dilation * (length - 1) for length in kernel.shape[2:]]

    def operator(inputs: Tensor) -> Tensor:
        padding = [side for width in reversed(widths) for side in (0, width)]
        return getattr(F, f"conv{kernel.ndim - 2}d")(
            F.pad(inputs, padding, mode="circular"), kernel, stride=stride, dilation=dilation
        )

    return operator


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_are_those_of_the_circular_operator(num_dims: int, stride: int, dilation: int) -> None:
    size = 4 if num_dims == 3 else 6
    kernel = drawn(3, 2, *[3 if dilation == 1 or size > 4 else 2] * num_dims)
    found = convolution_singular_values(kernel, [size] * num_dims, [stride] * num_dims, [dilation] * num_dims)
    matrix = dense(circular(kernel, stride, dilation), 2, *[size] * num_dims)
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(found.numpy()[: len(expected)], expected, atol=1e-10)


def only_layer(layer: nn.Module, *shape: int) -> LinearMap:
    network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2))
    data = blobs(4, *shape, num_classes=2)
    network(data[0])
    return linear_maps(TrainedModel(network, data))[0]


@pytest.mark.parametrize("groups", [1, 2])
def test_the_norm_is_the_largest_of_them(groups: int) -> None:
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, padding_mode="circular", bias=False)
    matrix = dense(lambda inputs: layer.double()(inputs).detach(), 4, 6, 6)
    expected = np.linalg.svd(matrix, compute_uv=False)[0]
    assert operator_norm(only_layer(layer.float(), 4, 6, 6)) == pytest.approx(expected, rel=1e-5)


def test_zero_padding_changes_it_a_little() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    with torch.no_grad():
        matrix = dense(layer.double(), 3, 12, 12)
    assert operator_norm(only_layer(layer.float(), 3, 12, 12)) == pytest.approx(
        np.linalg.svd(matrix, compute_uv=False)[0], rel=0.05
    )


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 4), nn.Conv2d(3, 4, 1, stride=2)], ids=["whole", "pointwise"])
def test_where_the_reshaped_kernel_is_the_operator_it_is_taken(layer: nn.Conv2d) -> None:
    kernel = layer.weight.detach().double().flatten(1).numpy()
    assert operator_norm(only_layer(layer, 3, 4, 4)) == pytest.approx(np.linalg.svd(kernel, compute_uv=False)[0])


def test_an_odd_size_is_filled_up_to_the_stride() -> None:
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    kernel = layer.weight.detach()
    expected = float(convolution_singular_values(kernel, [8, 8], [2, 2])[0])
    assert operator_norm(only_layer(layer, 2, 7, 7)) == pytest.approx(expected, rel=1e-6)


def test_the_measure_is_the_product_over_layers() -> None:
    trained = convolutional()
    expected = sum(2 * math.log(operator_norm(each)) for each in linear_maps(trained))
    assert MEASURES["log_operator_product"](trained).value == pytest.approx(expected)
