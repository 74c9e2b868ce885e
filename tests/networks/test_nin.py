import pytest
import torch
from torch import nn
from torch.nn import functional as F

from networks.tensorflow_style import batch_norm, same_convolution, shaken
from widemargin.errors import InvalidInputError
from widemargin.layers import choose_layers
from widemargin.networks import NiN
from widemargin.trained_model import TrainedModel


@pytest.mark.parametrize(("width", "filters"), [(1, 192), (1.5, 288), (2, 384), (0.1, 19)])
def test_width_counts_in_units_of_192_filters(width, filters):
    model = NiN(width=width)
    assert {m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)} == {filters, 10}


def test_has_nine_convolutions_and_a_head_without_padding():
    model = NiN()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size[0] for m in convolutions] == [3, 1, 1] * 3 + [4]
    assert [m.stride[0] for m in convolutions] == [2, 1, 1] * 3 + [1]
    assert all(m.padding == (0, 0) and m.bias is not None for m in convolutions)


@pytest.mark.parametrize("batch_norm_is_used", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_is_the_paper_network_written_out(size, stride, batch_norm_is_used):
    torch.manual_seed(0)
    model = shaken(NiN(10, 3, size, width=0.025, batch_norm=batch_norm_is_used, strides=(stride,) * 3))
    images = torch.randn(2, 3, size, size)
    hidden = images
    for block in model.blocks:
        for (convolution, norm), step in zip((block.conv1, block.conv2, block.conv3), (stride, 1, 1), strict=True):
            hidden = same_convolution(hidden, convolution, step)
            hidden = F.relu(batch_norm(hidden, norm, 1e-5) if batch_norm_is_used else hidden)
    assert model.head.weight.shape[2:] == hidden.shape[2:]
    expected = (hidden[:, None] * model.head.weight).sum((2, 3, 4)) + model.head.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def test_drops_activations_at_the_end_of_each_block_while_training():
    model = NiN(width=0.05, dropout=0.5).train()
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3
    out = model.blocks[0](torch.randn(8, 3, 32, 32))
    kept = model.blocks[0].eval()(torch.randn(8, 3, 32, 32))
    assert (out == 0).float().mean() > (kept == 0).float().mean()


@pytest.mark.parametrize("batch_norm", [True, False])
def test_taps_are_the_third_convolutions_before_their_relu(batch_norm):
    model = NiN(10, 1, 8, width=0.05, batch_norm=batch_norm, strides=(1, 2, 2)).eval()
    data = (torch.randn(4, 1, 8, 8), torch.arange(4))
    assert choose_layers(TrainedModel(model, data)).names == ("input", *(f"blocks.{i}.conv3" for i in range(3)))
    assert (model.blocks[0].conv3(torch.randn(4, 9, 8, 8)) < 0).any()


def test_works_on_small_images():
    assert NiN(10, 1, 8, width=0.1, strides=(2, 2, 2))(torch.randn(4, 1, 8, 8)).shape == (4, 10)
    assert NiN(10, 1, 8, width=0.1, strides=(1, 2, 2)).head.kernel_size == (2, 2)


@pytest.mark.parametrize(
    ("options", "text"), [({"width": 0.001}, "at least one filter"), ({"dropout": 1.0}, "a share")]
)
def test_refuses_impossible_options(options, text):
    with pytest.raises(InvalidInputError, match=text):
        NiN(**options)
