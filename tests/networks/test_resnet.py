from functools import partial
from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from networks.tensorflow_style import batch_norm, group_norm, same_convolution, shaken
from widemargin.errors import InvalidInputError
from widemargin.layers import tapped
from widemargin.networks import ResNet20, ResNet32
from widemargin.parameters import ParameterSpace

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("width", "num_classes"), [(1, 10), (2, 10), (4, 100)])
def test_resnet32_has_the_parameters_of_its_definition(width, num_classes, norm):
    came = 16 * width
    expected = 3 * came * 9  # stem
    for filters in (16 * width, 32 * width, 64 * width):
        expected += came * filters  # projection
        for _ in range(5):
            expected += 2 * came + came * filters * 9 + 2 * filters + filters * filters * 9
            came = filters
    expected += 2 * came + came * num_classes + num_classes  # last norm, head
    assert num_parameters(ResNet32(num_classes, width=width, norm=norm)) == expected


def test_resnet32_has_467_thousand_parameters_at_width_1():
    assert num_parameters(ResNet32()) == 466_970


def test_resnet20_has_the_papers_number_of_parameters():
    network = ResNet20(10, 3)
    assert num_parameters(network) == 269_722
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert (len(convolutions), sum(num_parameters(module) for module in convolutions)) == (19, 267_696)
    assert (len(norms), sum(num_parameters(module) for module in norms)) == (19, 1_376)
    assert num_parameters(network.head) == 650


def test_filter_normalized_directions_move_as_many_parameters_of_resnet20_as_in_the_paper():
    network = ResNet20()
    space = ParameterSpace.of(network)
    assert space.groups(space.flat(network)).num_free == 268_336


@pytest.mark.parametrize("size", [8, 13])
@pytest.mark.parametrize(
    ("norm", "width", "num_groups"), [("batch", 0.25, 0), ("group", 0.25, 4), ("group", 2.5, 20)]
)
def test_resnet32_is_the_paper_network_written_out(norm, width, num_groups, size):
    torch.manual_seed(0)
    network, images = shaken(ResNet32(7, 2, width=width, norm=norm)), torch.randn(2, 2, size, size)

    def activated(hidden, module):
        if norm == "batch":
            return F.relu(batch_norm(hidden, module, 1e-5))
        times = hidden.shape[1] // int(16 * width)
        groups = {4: {1: 4, 2: 8, 4: 16}, 20: {1: 20, 2: 20, 4: 32}}[num_groups]
        return F.relu(group_norm(hidden, module, groups[times]))

    hidden = same_convolution(images, network.stem, 1)
    for stage, first_stride in zip(network.stages, (1, 2, 2), strict=True):
        assert len(stage) == 5
        for block, stride in zip(stage, (first_stride, 1, 1, 1, 1), strict=True):
            first = activated(hidden, block.norm1)
            shortcut = same_convolution(first, block.shortcut, stride) if block is stage[0] else hidden
            second = activated(same_convolution(first, block.conv1, stride, sides=1), block.norm2)
            hidden = shortcut + same_convolution(second, block.conv2, 1)
    expected = network.head(activated(hidden, network.norm).mean((2, 3)))
    torch.testing.assert_close(network(images), expected, **CLOSE)


@pytest.mark.parametrize("size", [8, 13])
def test_resnet20_is_the_paper_network_written_out(size):
    torch.manual_seed(0)
    network, images = shaken(ResNet20(7, 1, width=0.25)), torch.randn(2, 1, size, size)

    def activated(hidden, norm):
        normed = batch_norm(hidden, norm, 1e-3)
        return torch.where(normed < 0, 0.1 * normed, normed)

    hidden = same_convolution(images, network.stem, 1)
    for stage, first_stride in zip(network.stages, (1, 2, 2), strict=True):
        assert len(stage) == 3
        for block, stride in zip(stage, (first_stride, 1, 1), strict=True):
            first = activated(hidden, block.norm1)
            shortcut = first if block is network.stages[0][0] else hidden
            if stride == 2:
                half = hidden.shape[1] // 2
                shortcut = F.pad(F.avg_pool2d(hidden, 2, ceil_mode=True), (0, 0, 0, 0, half, half))
            second = activated(same_convolution(first, block.conv1, stride), block.norm2)
            hidden = shortcut + same_convolution(second, block.conv2, 1)
    expected = network.head(activated(hidden, network.norm).mean((2, 3)))
    torch.testing.assert_close(network(images), expected, **CLOSE)


@pytest.mark.parametrize("make", [ResNet20, ResNet32])
def test_margin_points_are_what_leaves_each_stage_before_the_final_norm(make):
    network, images = shaken(make(width=0.25)), torch.randn(2, 3, 8, 8)
    assert make.margin_layers == ("input", "stages.0", "stages.1", "stages.2")
    with tapped(network, make.margin_layers) as activations, torch.no_grad():
        network(images)
        hidden = network.stem(images)
        for index, stage in enumerate(network.stages):
            hidden = stage(hidden)
            assert torch.equal(activations[f"stages.{index}"], hidden)
    assert hidden.min() < 0


@pytest.mark.parametrize(("network", "eps", "momentum"), [(ResNet32(), 1e-5, 0.003), (ResNet20(), 1e-3, 0.1)])
def test_batch_norms_have_the_published_constants(network, eps, momentum):
    found = {(norm.eps, norm.momentum) for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)}
    assert found == {(eps, momentum)}


@pytest.mark.parametrize("make", [ResNet20, ResNet32])
@pytest.mark.parametrize(("width", "filters"), [(0.0625, 1), (0.3, 4), (1, 16), (2, 32)])
def test_width_counts_in_units_of_16_filters(make, width, filters):
    network = make(width=width)
    assert network.stem.out_channels == filters
    assert [stage[-1].conv2.out_channels for stage in network.stages] == [filters, 2 * filters, 4 * filters]


@pytest.mark.parametrize(
    ("make", "fan", "gain", "cut"),
    [(ResNet32, lambda weight: weight[0].numel(), 1, 2 / 0.8796), (ResNet20, lambda weight: len(weight) * 9, 2, 6)],
)
def test_kernels_are_drawn_as_published(make, fan, gain, cut):
    torch.manual_seed(0)
    for module in make(width=2).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            std = sqrt(gain / fan(module.weight))
            assert module.weight.std().item() == pytest.approx(std, rel=0.06)
            assert 2 * std < module.weight.abs().max() < cut * std * (1 + 1e-4)


@pytest.mark.parametrize("make", [ResNet20, ResNet32])
def test_the_head_is_drawn_evenly_without_biases(make):
    torch.manual_seed(0)
    head, bound = make(width=2).head, sqrt(6 / (128 + 10))
    assert 0.97 * bound < head.weight.abs().max() <= bound
    assert (head.bias == 0).all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            partial(ResNet32, width=0.06),
            r"at least one filter, got 0.06 \(16 x 0.06 rounds down to 0\). Use at least",
        ),
        (partial(ResNet20, width=0.0), "Use at least 0.0625"),
        (partial(ResNet32, norm="layer"), "norm must be one of batch, group, got 'layer'"),
    ],
)
def test_refuses_impossible_options(make, text, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match=text):
        make()
