import pytest
import torch
from torch import nn

from networks.tensorflow_style import same_convolution
from widemargin.networks.same_padding import SameConv2d, same_padding


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(32, 2, (0, 1)), (28, 2, (0, 1)), (7, 2, (1, 1)), (8, 1, (1, 1)), (1, 2, (1, 1))]
)
def test_an_odd_zero_goes_behind(size, stride, padding):
    assert same_padding(size, 3, stride) == padding


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_as_many_windows_fit_as_strides_begin(size, stride, kernel_size):
    padded = size + sum(same_padding(size, kernel_size, stride))
    assert len(range(0, padded - kernel_size + 1, stride)) == len(range(0, size, stride))


@pytest.mark.parametrize("size", [7, 8, 28, 32])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_convolves_as_written_out(size, stride, kernel_size):
    torch.manual_seed(0)
    images, convolution = torch.randn(2, 3, size, size), SameConv2d(3, 4, kernel_size, stride)
    torch.testing.assert_close(
        convolution(images), same_convolution(images, convolution, stride), rtol=1e-4, atol=1e-5
    )


def test_height_and_width_are_padded_each_by_its_own_size():
    convolution = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        convolution.weight[0, 0, 0, 0] = 1  # each window tells its first pixel
    image = torch.arange(1.0, 13).view(1, 1, 4, 3)
    torch.testing.assert_close(convolution(image)[0, 0], torch.tensor([[0.0, 2], [0, 8]]))
